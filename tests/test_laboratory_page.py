"""Every block of docs/laboratory.md is run, on a small data set and for one epoch."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch", reason="needs genrescope[train]")

from typer.testing import CliRunner

from clips import write_spectrograms, write_wav
from genrescope.cli import app
from genrescope.training.recipe import expand, load_recipe

PAGE = (Path(__file__).resolve().parents[1] / "docs/laboratory.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
SHORT = {"--trials 40": "--trials 2", "--jobs 2": "--jobs 1"}
EPOCHS = ("--set", "training.epochs=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("laboratory")
    write_spectrograms(folder / "gtzan", tracks=6)
    for number in range(10):
        genre, pitch = [("low", 110.0), ("high", 880.0)][number % 2]
        (folder / "my-music" / genre).mkdir(parents=True, exist_ok=True)
        write_wav(folder / "my-music" / genre / f"{number}.wav", 4, seed=number, pitch=pitch)
    (folder / "new-music").mkdir()
    write_wav(folder / "new-music" / "new.wav", 4)
    return folder


@pytest.mark.needs("lab")
def test_the_commands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another, as they are on the page."""
    monkeypatch.chdir(folder)
    lines = [line for language, text in BLOCKS if not language for line in text.splitlines()]
    assert len(lines) > 8
    for line in lines:
        short = line
        for long, other in SHORT.items():
            short = short.replace(long, other)
        _, *words = shlex.split(short)
        if words[0] in ("train", "tune") and "leakage" not in words:
            words += EPOCHS
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, f"{line}: {done.output}"


def test_the_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = (text for language, text in BLOCKS if language == "python")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("builtins.print", lambda *_: None)
    exec(code, {})
    assert (folder / "runs/cnn/metrics.json").is_file()


def test_the_recipe(tmp_path: Path) -> None:
    (text,) = (text for language, text in BLOCKS if language == "yaml")
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    members = expand(path)
    recipes = [load_recipe(member) for member in members]
    assert {recipe.model["kind"] for recipe in recipes} == {"lstm", "kth_cnn"}
    assert set(recipes[0].search) >= set(yaml.safe_load(text)["search"])
