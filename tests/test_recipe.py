"""Recipes: the shipped ones load, and every mistake in one is a single line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from genrescope.errors import RecipeError
from genrescope.features import SegmentSettings
from genrescope.training.recipe import Recipe, changed, expand, load_recipe
from genrescope.training.recipe_files import shipped_recipes
from genrescope.training.settings import Parameter
from genrescope.training.trainers.sklearn import Trainer

SMALL = """
name: small
feature: {kind: mfcc, n_mfcc: 13}
segments: {seconds: 3}
model: {kind: cnn}
"""


def write(path: Path, text: str = SMALL) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def refusal(source: str | Path, *changes: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(source, list(changes))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_load_and_bear_their_names(name: str) -> None:
    if "embedding" in {load_recipe(member).feature.get("kind") for member in expand(name)}:
        pytest.importorskip("torch", reason="an encoder's front end needs genrescope[encoders]")
    for member in expand(name):
        try:
            recipe = load_recipe(member)
        except RecipeError as error:
            # It waits for an encoder; `genrescope recipes` says so.
            assert "no feature 'vggish_mel'" in str(error)
            continue
        assert recipe.name == member
        assert recipe.description
        assert recipe.frontend.segment_frames > 0
        assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_the_default_is_shipped() -> None:
    assert {"default", "default-random", "default-filtered"} <= set(shipped_recipes())


def test_a_recipe_is_read_from_a_file(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path / "mine.yaml"))
    assert recipe.name == "small"
    assert recipe.frontend.computed.size == 13
    assert recipe.training.epochs == 100


def test_a_shipped_recipe_differs_from_its_base_only_where_it_says() -> None:
    base, derived = load_recipe("default"), load_recipe("default-random")
    changed = {
        name for name in Recipe.model_fields if getattr(base, name) != getattr(derived, name)
    }
    assert changed <= {"name", "description", "split"}
    assert derived.split.kind == "random"


def test_extends_merges_settings_deeply_and_in_order(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "base.yaml", SMALL + "training: {epochs: 7, batch_size: 8}\nseed: 1\n")
    write(tmp_path / "sub/mid.yaml", "extends: ../base.yaml\ntraining: {epochs: 9}\nseed: 2\n")
    write(tmp_path / "top.yaml", "extends: sub/mid.yaml\nname: top\nseed: 3\n")
    recipe = load_recipe(tmp_path / "top.yaml")
    assert (recipe.name, recipe.seed) == ("top", 3)
    assert (recipe.training.epochs, recipe.training.batch_size) == (9, 8)
    assert recipe.feature == {"kind": "mfcc", "n_mfcc": 13}


def test_changes_replace_what_the_file_says() -> None:
    recipe = load_recipe(
        "default",
        [
            "training.epochs=3",
            "name=changed",
            "model.channels=[4, 8]",
            "feature.n_mels=64",
            "split.by_artist=false",
            "description=a=b",
            "training.epochs=4",
        ],
    )
    base = load_recipe("default")
    assert (recipe.name, recipe.description) == ("changed", "a=b")
    assert recipe.training.epochs == 4
    assert recipe.training.learning_rate == base.training.learning_rate
    assert recipe.model == {**base.model, "channels": [4, 8]}
    assert recipe.frontend.computed.size == 64
    assert recipe.split.by_artist is False


@pytest.mark.parametrize("change", ["epochs", "=3", "training..epochs=3", ".seed=1", "seed.=1"])
def test_changes_need_a_key_and_a_value(change: str) -> None:
    assert refusal("default", change) == (
        f"{change!r}: expected KEY=VALUE, as in training.epochs=3"
    )


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ("colour=red", "colour: there is no such setting"),
        ("search={training.epochs: {low: 1, high: 9, stop: 2}}", "stop: there is no such setting"),
        ("training.epoch=3", "training.epoch: there is no such setting"),
        ("augmentation.flip=1", "augmentation.flip: there is no such setting"),
        ("split.holdout=0.5", "split.holdout: there is no such setting"),
        ("segments.length=3", "segments.length: there is no such setting"),
        ("feature.mels=3", "feature.mels: there is no such setting"),
        ("training.epochs=0", "training.epochs: Input should be greater"),
        ("training.epochs=many", "training.epochs: Input should be a valid integer"),
        ("training.epochs=", "training.epochs: Input should be a valid integer"),
        ("training.learning_rate=.nan", "training.learning_rate: Input should be a finite number"),
        ("training.precision=fp8", "training.precision: Input should be 'auto'"),
        ("augmentation.mixup=50", "augmentation.mixup: Input should be less than"),
        ("split.kind=best", "split.kind: Input should be 'random'"),
        ("split.test=1.5", "split.test: Input should be less than 1"),
        ("aggregation=loudest", "aggregation: no aggregation 'loudest'; there are: majority"),
        ("seed=-1", "seed: Input should be greater"),
        ("name=../../etc", "name: expected letters from A to Z, digits"),
        ("segments.seconds=0", "segments.seconds: Input should be greater"),
        ("feature.kind=wavelet", "no feature 'wavelet'; there are: descriptors"),
        ("feature.n_mels=1000", "1000 mel bands are too many"),
        ("model=cnn", "model: Input should be a valid dictionary"),
        ("1=2", "1: "),
        ("seed={", "not YAML"),
    ],
)
def test_wrong_settings_are_named(change: str, place: str) -> None:
    assert place in refusal("default", change)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected settings as `name: value`"),
        ("- name: small", "expected settings"),
        ("small", "expected settings"),
        ("name: [small", "not YAML"),
        ("name: small\n\tfeature: {}", "not YAML"),
        ("[" * 5000, "not YAML"),
        ("name: small\nmodel: {}\nsegments: {seconds: 3}", "feature: is missing"),
        ("feature: {kind: mfcc}\nmodel: {}\nsegments: {seconds: 3}", "name: is missing"),
        (
            "name: a\nsegments: {seconds: 3}\nmodel: {}\nfeature: 3",
            "feature: Input should be a valid",
        ),
        (SMALL + "1: 2", "1"),
        ("extends: [default]", "extends: expected a shipped name or a file"),
        ("extends: 5", "extends: expected"),
        (
            "extends: nowhere.yaml",
            "extends nowhere.yaml, which is neither a shipped recipe nor a file",
        ),
        ("extends: mine.yaml", "extends itself"),
        ("extends: other.yaml", "extends itself"),
        ("extends: ../recipes/mine.yaml", "extends itself"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "recipes").mkdir()
    write(tmp_path / "recipes/other.yaml", "extends: mine.yaml")
    message = refusal(write(tmp_path / "recipes/mine.yaml", text))
    assert words in message
    assert ".yaml" in message


@pytest.mark.parametrize("source", ["nowhere", "nowhere.yaml", "a\0b"])
def test_missing_recipes_are_refused_with_those_there_are(source: str) -> None:
    assert "no such recipe; shipped are: berkeley-" in refusal(source)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    assert "mine.yaml" in refusal(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.mkdir [{made}]",
        "!!python/object/apply:pathlib.Path.mkdir [!!python/object/apply:pathlib.Path [{made}]]",
        "!!python/name:os.system ''",
        "!!python/tuple [1, 2]",
    ],
)
def test_nothing_in_a_recipe_is_executed(tmp_path: Path, tag: str) -> None:
    line = tag.format(made=tmp_path / "made")
    message = refusal(write(tmp_path / "mine.yaml", f"{SMALL}description: {line}\n"))
    assert "could not determine a constructor for the tag" in message
    assert "could not determine a constructor" in refusal("default", f"description={line}")
    assert not (tmp_path / "made").exists()


def test_a_recipe_stays_as_it_was_read() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_recipe("default").seed = 3  # type: ignore[misc]


FAMILY = """
name: family
feature: {kind: mfcc, n_mfcc: 13}
segments: {seconds: 3}
model: {kind: cnn, dropout: 0.1}
published: {paper: kth, table: table 3, features: "mfcc {feature.n_mfcc}", model: "{model.kind}"}
variants:
  feature.n_mfcc: [13, 20]
  model:
    network: {}
    trees: {model: {kind: classical, name: RF}, published: null}
"""


def test_a_family_stands_for_its_members(tmp_path: Path) -> None:
    path = write(tmp_path / "family.yaml", FAMILY)
    assert expand(path) == [f"{path}/{n}/{m}" for n in (13, 20) for m in ("network", "trees")]
    assert expand(f"{path}/20") == [f"{path}/20/network", f"{path}/20/trees"]
    assert expand("default") == ["default"]
    recipe = load_recipe(f"{path}/20/network")
    assert recipe.name == "family/20/network"
    assert recipe.feature == {"kind": "mfcc", "n_mfcc": 20}
    assert recipe.published is not None
    assert (recipe.published.features, recipe.published.model) == ("mfcc 20", "cnn")
    trees = load_recipe(f"{path}/13/trees")
    assert trees.model == {"kind": "classical", "name": "RF"}, "another kind replaces the whole"
    assert trees.published is None


@pytest.mark.parametrize("labels", ["", "/20", "/30/network", "/20/network/more", "/20/nothing"])
def test_what_is_no_member_of_a_family_is_refused(tmp_path: Path, labels: str) -> None:
    path = write(tmp_path / "family.yaml", FAMILY)
    assert "a family of (13|20)/(network|trees)" in refusal(f"{path}{labels}")


def test_a_recipe_that_extends_a_family_may_drop_a_label(tmp_path: Path) -> None:
    write(tmp_path / "family.yaml", FAMILY)
    text = "extends: family.yaml\nname: less\nvariants: {model: {trees: null}}"
    path = write(tmp_path / "less.yaml", text)
    assert expand(path) == [f"{path}/13/network", f"{path}/20/network"]


def test_a_leaking_split_has_to_be_acknowledged() -> None:
    leaking = "split={kind: by_segment, i_know_this_leaks: true}"
    assert load_recipe("default", [leaking]).split.i_know_this_leaks
    assert "its scores mean nothing" in refusal("default", "split.kind=by_segment")
    assert "its scores mean nothing" in refusal("default", "split.i_know_this_leaks=true")


def test_settings_are_changed_by_dotted_name() -> None:
    base = load_recipe("default")
    other = changed(base, {"training.epochs": 3, "model.channels": [4]})
    assert (other.training.epochs, other.model["channels"]) == (3, [4])
    assert other.training.learning_rate == base.training.learning_rate
    with pytest.raises(RecipeError, match=r"training\.epochs"):
        changed(base, {"training.epochs": 0})


@pytest.mark.parametrize(
    "search", ["{low: 1}", "{low: 3, high: 1}", "{choices: []}", "{choices: [1], low: 0, high: 1}"]
)
def test_what_is_searched_has_bounds(search: str) -> None:
    assert "expected either choices" in refusal("default", f"search={{training.epochs: {search}}}")


def test_augmentation_that_would_have_no_effect_is_refused() -> None:
    words = "embeddings have no augmentation"
    assert words in refusal("encoder-heads/musicnn/dense", "augmentation.waveform={}")
    noisy = load_recipe("leakage/by-track", ["augmentation.noise=0.1"])
    with pytest.raises(RecipeError, match="classifiers have no augmentation of segments"):
        Trainer().check(noisy)
    Trainer().check(load_recipe("leakage/by-track", ["augmentation.waveform={}"]))


def test_a_removed_setting_is_accepted_where_it_is_off() -> None:
    assert load_recipe("default", ["augmentation.slope=0"]) == load_recipe("default")
    assert "augmentation.slope: was removed in version 0.2" in refusal(
        "default", "augmentation.slope=0.1"
    )


def test_a_copy_derives_its_own_values() -> None:
    recipe = load_recipe("default")
    assert recipe.frontend is recipe.frontend
    assert recipe.networks is recipe.networks
    other = recipe.model_copy(update={"segments": SegmentSettings(seconds=5), "seed": 7})
    assert other.frontend.segments.seconds == 5 != recipe.frontend.segments.seconds
    assert [own.seed for own in other.networks] == [28, 29, 30, 31]


def test_a_choice_is_known_however_its_number_is_written() -> None:
    parameter = Parameter(choices=[0, 0.1])
    assert parameter.label(0.0) == parameter.label(0) == "0"
    assert parameter.choice(parameter.label(0.1)) == 0.1


@pytest.mark.parametrize("order", [1, -1])
def test_another_classifier_does_not_get_the_settings_of_the_first(order: int) -> None:
    assert load_recipe("my-genres").model["C"] == 0.01
    assert load_recipe("my-genres", ["model.name=kNN"]).model == {
        "kind": "classical",
        "name": "kNN",
    }
    changes = ["model.name=SVCrbf", "model.C=2", "model.pca=3"][::order]
    model = {"kind": "classical", "name": "SVCrbf", "C": 2, "pca": 3}
    assert load_recipe("my-genres", changes).model == model


@pytest.mark.parametrize(
    "change",
    [
        "training.epochs=true",
        "training.learning_rate=false",
        "seed=yes",
        "segments.seconds=true",
        "segments.most=true",
        "augmentation.masks=on",
        "augmentation.waveform.snr=true",
        "split.folds=true",
        "feature.n_mels=true",
        "feature.hop_length=true",
        "search={training.epochs: {low: false, high: true}}",
    ],
)
def test_true_and_false_are_no_numbers(change: str) -> None:
    text = refusal("default", change)
    assert change.partition("=")[0].rpartition(".")[2] in text
    assert "expected a number, not " in text


@pytest.mark.parametrize("change", ["augmentation.one_of=true", "training.decay_biases=false"])
def test_switches_are_still_switched(change: str) -> None:
    load_recipe("default", [change])


def test_infinity_is_no_setting() -> None:
    assert "finite" in refusal("default", "training.learning_rate=.inf")


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "cnn", "dropout": True},
        {"kind": "cnn", "channels": [True, 32]},
        {"kind": "mlp", "hidden": [True]},
        {"kind": "classical", "name": "LR", "C": True},
        {"kind": "classical", "name": "LR", "pca": True},
        {"kind": "classical", "name": "XGBoost", "max_depth": True},
    ],
)
def test_nor_are_they_in_a_models_settings(model: dict[str, object]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    if model.get("name") == "XGBoost":
        pytest.importorskip("xgboost")
    from genrescope.models.registry import make_model

    with pytest.raises(RecipeError, match="expected a number, not true"):
        make_model(model, shape=(96, 40), genres=3)
