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
from genrescope.training.recipe import expand, shipped_recipes


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


def test_a_broken_recipe_waits_too(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("name: broken\nsegments: {}\n")
    (entry,) = json.loads(run(str(path), "--format", "json"))
    assert entry["state"].startswith("waits: recipe")


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
        " ['recipes', 'kth-table4'])])\n"
        "print({'torch', 'librosa', 'sklearn', 'matplotlib', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["[0, 0]", "set()"], done.stderr
