"""Files of version 0.1 are read under the names that are used now."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from genrescope import Classifier
from genrescope.inference.bundle import KNOWN_VERSIONS, SHIPPED, Bundle

FILES = Path(__file__).parent / "files"

OLD = """
name: old
feature: {kind: mfcc}
segments: {seconds: 3.0}
model: {kind: mlp}
training: {average: 0.5}
ensemble: [{}, {training: {average: 0.25}}]
voting: geometric
search: {training.average: {choices: [0, 0.9]}}
variants:
  rule:
    a: {voting: mode}
    b: {training: {average: 0.75}}
"""


def test_a_recipe_with_old_names_is_read_with_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="recipes need the train extra")
    from genrescope.training.recipe import load_recipe

    (tmp_path / "old.yaml").write_text(OLD)
    with pytest.warns(FutureWarning, match=r"old.yaml: settings of version 0.1.*voting -> agg"):
        first = load_recipe(f"{tmp_path}/old.yaml/a")
    with pytest.warns(FutureWarning, match=r"voting=mean: settings of version 0.1"):
        second = load_recipe(f"{tmp_path}/old.yaml/b", ["voting=mean"])
    assert first.aggregation == "majority"
    assert second.aggregation == "mean_probability"
    assert (first.training.ema_decay, second.training.ema_decay) == (0.5, 0.75)
    assert [network.training.ema_decay for network in first.networks] == [0.5, 0.25]
    assert list(first.search) == ["training.ema_decay"]


def test_settings_of_encoders_have_the_names_that_others_use(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="recipes need the train extra")
    from genrescope.legacy import renamed_recipe
    from genrescope.training.recipe import load_recipe

    with pytest.warns(FutureWarning, match=r"model.learning -> model.trained_modules"):
        tuned = load_recipe("vellore-finetune", ["model.learning=3", "model.slower=0.5"])
    assert (tuned.model["trained_modules"], tuned.model["layer_decay"]) == (3, 0.5)
    with pytest.warns(FutureWarning, match=r"feature.untrained -> feature.weights_seed"):
        random = load_recipe("deepsound-vggish", ["feature.untrained=7"])
    assert random.feature["weights_seed"] == 7
    # Another kind of model may have a setting of that name.
    own = {"model": {"kind": "mine", "learning": 3}, "search": {"model.slower": {"choices": [1]}}}
    assert renamed_recipe(own)[0] == {
        "model": {"kind": "mine", "learning": 3},
        "search": {"model.layer_decay": {"choices": [1]}},
    }


def test_a_bundle_of_schema_1_gives_the_same_answers(tmp_path: Path) -> None:
    shipped = Bundle.load("default")
    fields = json.loads((SHIPPED / "default" / "bundle.json").read_text())
    fields |= {"schema_version": 1, "voting": "geometric"}
    del fields["aggregation"]
    (tmp_path / "bundle.json").write_text(json.dumps(fields))
    (tmp_path / "model.onnx").write_bytes(shipped.model)
    old = Classifier.load(tmp_path)
    # What schema 3 added is optional.
    versions = {"schema_version"}
    assert old.manifest.model_dump(exclude=versions) == shipped.manifest.model_dump(
        exclude=versions
    )


@pytest.mark.parametrize(
    ("feature", "unused"),
    [
        ("{kind: stored, name: x, width: 2, n_mels: 64}", "n_mels"),
        ("{kind: waveform, n_fft: 1024}", "n_fft"),
    ],
)
def test_settings_that_never_had_an_effect_are_dropped(
    tmp_path: Path, feature: str, unused: str
) -> None:
    pytest.importorskip("torch", reason="recipes need the train extra")
    from genrescope.training.recipe import load_recipe

    path = tmp_path / "old.yaml"
    path.write_text(
        f"name: old\nfeature: {feature}\nsegments: {{seconds: 3.0}}\n"
        "model: {kind: classical, name: kNN, whiten: false}\n"
    )
    with pytest.warns(FutureWarning, match=rf"version 0.1.*feature\.{unused}, which"):
        recipe = load_recipe(str(path))
    assert unused not in recipe.feature
    assert recipe.model == {"kind": "classical", "name": "kNN"}


@pytest.mark.parametrize("version", [1, 2, 3])
def test_kept_bundles_of_every_schema_give_their_answers(version: int) -> None:
    # 1 was written by version 0.1; the same network in 2 and 3, by the version that added 3.
    classifier = Classifier.load(FILES / f"bundle-schema-{version}.zip")
    prediction = classifier.predict(np.linspace(-1, 1, 8, dtype=np.float32))
    assert prediction.genre == "a"
    assert prediction.probabilities["a"] == pytest.approx(0.58158970, abs=1e-6)
    assert classifier.manifest.aggregation == "mean_logits"
    assert (prediction.labels is not None) == (version == 3)


def test_every_schema_that_is_read_has_a_kept_bundle() -> None:
    kept = {int(path.stem.rpartition("-")[2]) for path in FILES.glob("bundle-schema-*.zip")}
    assert kept == {1, *KNOWN_VERSIONS}
