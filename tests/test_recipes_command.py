"""The list of recipes: papers, figures, states."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from genrescope.cli.recipes import recipes
from genrescope.errors import RecipeError
from genrescope.training.recipe import expand
from genrescope.training.recipe_files import shipped_recipes


def run(*words: str | Path) -> str:
    app = typer.Typer()
    app.command()(recipes)
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception:
        raise done.exception
    return done.stdout


def put(folder: Path, accuracy: float, *, leaked: bool = False) -> None:
    folder.mkdir(parents=True)
    metrics = {"recipe": folder.name, "n": 10, "accuracy": accuracy, "leaked": leaked}
    (folder / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture
def waiting(tmp_path: Path) -> Path:
    """A recipe whose feature and model are not there."""
    path = tmp_path / "later.yaml"
    path.write_text(
        "name: later\ndescription: of the future\n"
        "feature: {kind: telepathy, strength: 9}\nsegments: {seconds: 3, overlap: 0}\n"
        "model: {kind: oracle}\n"
        "published: {paper: berkeley, table: fig 7, features: 'vggish fine-tuned, hidden 256', "
        "model: softmax}\n"
    )
    return path


def test_json_lists_every_member(tmp_path: Path) -> None:
    listed: list[dict[str, Any]] = json.loads(run("--format", "json", "--runs", tmp_path))
    assert [entry["name"] for entry in listed] == [
        name for family in shipped_recipes() for name in expand(family)
    ]
    by_name = {entry["name"]: entry for entry in listed}
    lstm = by_name["kth-table4/lstm/mfcc-delta"]
    assert (lstm["family"], lstm["paper"], lstm["state"]) == ("kth-table4", "kth", "ready")
    assert lstm["row"]["table"] == "table 4"
    assert lstm["published"]["test accuracy"] == 72.5
    assert by_name["default"]["paper"] is None
    assert {entry["paper"] for entry in listed} >= {"berkeley", "deepsound", "kth", "leiden"}


def test_what_is_not_there_yet_waits_with_its_reason(waiting: Path) -> None:
    (entry,) = json.loads(run(str(waiting), "--format", "json"))
    assert entry["state"] == "waits: no feature 'telepathy' yet; no model 'oracle' yet"
    assert (entry["paper"], entry["published"]["test accuracy"]) == ("berkeley", 53.4)
    text = run(str(waiting))
    assert "of the future" in text
    assert "no model 'oracle' yet" in text


def test_all_faults_of_a_malformed_recipe_are_in_one_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(
        "name: broken\nfeature: {kind: mfcc, n_mfc: 9}\nsegmnts: {}\n"
        "model: {kind: mlp, hiden: [9]}\ntraining: {epochs: 0}\nsplit: {seed: 3}\n"
    )
    with pytest.raises(RecipeError) as error:
        run(path)
    assert str(error.value) == (
        f"recipe {path}: feature.n_mfc: there is no such setting (did you mean `feature.n_mfcc`?); "
        "segmnts: there is no such setting (did you mean `segments`?); "
        "model.hiden: there is no such setting (did you mean `model.hidden`?); "
        "split.seed: there is no such setting (did you mean `seed`?); "
        "segments: is missing; "
        "training.epochs: Input should be greater than or equal to 1"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: a\nseed: 1\nsegments: {seconds: 3}\nseed: 2\n", "line 4: 'seed' is in line 2 "),
        ("name: a\nsegments:\n  step: 1\n  'step': 2\n", "line 4: 'step' is in line 3 already"),
    ],
)
def test_a_key_that_comes_twice_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=reason):
        run(path)


def test_keys_that_are_merged_in_may_be_replaced(tmp_path: Path) -> None:
    from genrescope.untrusted import parse_yaml

    found = parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: {<<: *a, y: 4}\nd: *a\n")
    assert found["b"] == {"x": 3, "y": 2}
    assert found["c"] == {"x": 1, "y": 4}


def test_a_folder_and_an_empty_name_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"a folder; expected a recipe's name or YAML file$"):
        run(tmp_path)
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(RecipeError, match=r"did you mean '.*recipe\.yaml'"):
        run(tmp_path)
    with pytest.raises(RecipeError, match="name of a recipe is empty"):
        expand("")


def test_runs_are_found_and_leaks_are_not_shown_as_figures(tmp_path: Path) -> None:
    put(tmp_path / "kth-table4" / "lstm" / "mfcc", 0.7123)
    put(tmp_path / "leakage" / "by-segment", 0.98, leaked=True)
    (tmp_path / "default").mkdir()
    (tmp_path / "default" / "metrics.json").write_text("{")  # unfinished
    text = run("--runs", tmp_path)
    line = next(line for line in text.splitlines() if line.startswith("kth-table4"))
    assert line.split()[-5:] == ["71.2", "1", "of", "4", "run"]
    assert "/(cnn|lstm)/(mfcc|mfcc-delta)" in text
    assert "98.0" not in text
    assert "one LEAKED" in text
    assert next(line for line in text.splitlines() if line.startswith("default ")).endswith("ready")
    members = run("kth-table4", "--runs", tmp_path)
    assert "68.0        71.2  run" in members
    assert "compared with: mfcc 20 + delta + delta-delta, cnn" in members


def test_no_such_recipe() -> None:
    with pytest.raises(RecipeError, match="no such recipe"):
        run("kth-table5")


def test_neither_command_needs_the_laboratory(tmp_path: Path) -> None:
    put(tmp_path / "a", 0.5)
    code = (
        "import sys, typer; from typer.testing import CliRunner\n"
        "from genrescope.cli.compare import compare; from genrescope.cli.recipes import recipes\n"
        "app = typer.Typer(); app.command()(compare); app.command()(recipes)\n"
        f"print([CliRunner().invoke(app, w).exit_code for w in (['compare', {str(tmp_path)!r}],"
        " ['recipes', '--format', 'json'])])\n"
        "print({'torch', 'librosa', 'sklearn', 'matplotlib', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.stdout.splitlines() == ["[0, 0]", "set()"], done.stderr


class TestSettings:
    """`recipes NAME` explains all settings; a wrong name is answered with the one that is meant."""

    def test_every_setting_of_every_recipe_has_a_meaning(self) -> None:
        from genrescope.training.explain import explained
        from genrescope.training.recipe import expand, load_recipe
        from genrescope.training.recipe_files import shipped_recipes

        for family in shipped_recipes():
            name = expand(family)[0]
            for setting in explained(load_recipe(name)):
                own = setting.key in ("name", "description")
                assert own or setting.meaning, (name, setting.key)

    def test_values_and_other_defaults_are_shown(self) -> None:
        text = run("my-genres")
        assert "model.C: 0.01\n    A setting of the classifier itself" in text
        assert "split.by_artist: true  (default: false)\n" in text
        assert "split.folds: 5\n    Number of folds.\n" in text

    def test_what_is_documented_together_is_explained_once(self) -> None:
        text = run("kth-table4")
        assert text.count("As the table of published results has them") == 1
        together = text.index("published.paper: "), text.index("published.protocol: ")
        assert together[0] < together[1] < text.index("As the table of published results")

    def test_what_a_run_does_not_read_is_only_named(self) -> None:
        before, _, unused = run("my-genres").partition("Not used by this kind of run\n")
        names = {name.strip() for name in unused.replace("\n", " ").split(",")}
        assert {"training.epochs", "augmentation.mixup", "ensemble", "split.train"} <= names
        assert "split.folds" not in names
        assert "training." not in before
        network = run("default").partition("Not used by this kind of run\n")
        assert "training.epochs: " in network[0]
        assert "training." not in network[2]

    def test_all_rules_of_aggregation_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from genrescope.aggregation import RULES

        known = {**RULES._places, "loudest": "my_package:LOUDEST"}
        monkeypatch.setattr(RULES, "_places", known)
        text = " ".join(run("default").split())
        assert f"`genrescope.aggregation`: {', '.join(sorted(known))}." in text

    def test_a_search_is_json(self, tmp_path: Path) -> None:
        path = tmp_path / "searched.yaml"
        path.write_text("extends: default\nname: searched\nsearch:\n  seed: {choices: [1, 2]}\n")
        line = next(line for line in run(path).splitlines() if line.startswith("search: "))
        shown = line.removeprefix("search: ").removesuffix("  (default: {})")
        assert json.loads(shown)["seed"] == {"choices": [1, 2]}

    def test_of_a_family_what_differs_is_said(self) -> None:
        text = run("kth-table4")
        assert "feature.deltas: by member" in text
        assert "feature.n_mfcc: 20" in text

    @pytest.mark.parametrize(
        ("change", "meant"),
        [
            ("folds=3", "`split.folds`"),
            ("split.fold=3", "`split.folds`"),
            ("training.epoch=3", "`training.epochs`"),
            ("epochs=3", "`training.epochs`"),
            ("augmentation.waveform.snrr=3", "`augmentation.waveform.snr`"),
            ("segments.second=3", "`segments.seconds`"),
            ("feature.n_fftt=3", "`feature.n_fft`"),
            ("model.channel=3", "`model.channels`"),
        ],
    )
    def test_a_wrong_name_is_answered_at_any_depth(self, change: str, meant: str) -> None:
        from genrescope.training.recipe import load_recipe

        with pytest.raises(RecipeError, match=f"did you mean {meant}"):
            load_recipe("default", [change])

    @pytest.mark.needs("train")
    def test_a_wrong_setting_of_a_model_too(self) -> None:
        from genrescope.models import make_model

        with pytest.raises(RecipeError, match="did you mean 'channels'"):
            make_model({"kind": "cnn", "channel": [4]}, shape=(8, 8), genres=2)

    def test_a_paper_is_cited_also_where_it_states_no_figure(self) -> None:
        text = run("vellore-dense")
        assert "vellore: Ramya V: Deep Learning for Automated Music Genre" in text
        (entry,) = json.loads(run("vellore-dense", "-f", "json"))
        assert entry["paper"] == "vellore"
        assert entry["citation"].startswith("Ramya V")
