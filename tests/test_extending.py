"""Every block of docs/extending.md is run in order, in a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

pytestmark = pytest.mark.needs("lab")

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
# The text before a block says what is done with it: a file is written, or lines are inserted.
MADE = re.compile(r"[Ii]n `([^`]+\.(?:py|yaml|toml))`:\s*$")
ADDED = re.compile(r"(?:[Ii]n `([^`]+\.py)`,\s+)?below\s+`([^`]+)`:\s*$")


_HERE = "--no-deps --no-build-isolation --disable-pip-version-check"


@dataclass(frozen=True)
class Block:
    language: str
    before: str
    text: str


def blocks() -> list[Block]:
    found, end = [], 0
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        found.append(Block(match[1], PAGE[end : match.start()].rstrip(), match[2]))
        end = match.end()
    return found


class Clone:
    """A copy of what the page changes, in which its commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outputs: dict[str, str] = {}
        self.file = Path()  # that a line was added to last
        # What other processes compile meanwhile comes and goes under such names.
        unfinished = shutil.ignore_patterns("*.pyc.*")
        shutil.copytree(ROOT / "src/genrescope", folder / "src/genrescope", ignore=unfinished)
        (folder / "tests").mkdir()
        shutil.copy(ROOT / "pyproject.toml", folder)

    def follow(self, block: Block) -> None:
        if block.language == "":
            for command in block.text.splitlines():
                self.run(command)
        elif made := MADE.search(block.before):
            path = self.folder / made[1]
            if made[1].startswith("projection/"):  # the page's own package
                path.parent.mkdir(exist_ok=True)
            assert path.parent.is_dir()
            assert not path.exists()
            path.write_text(block.text, encoding="utf-8")
        elif added := ADDED.search(block.before):
            self.file = self.folder / added[1] if added[1] else self.file
            text = self.file.read_text(encoding="utf-8")
            line = f"\n{added[2]}\n"
            assert text.count(line) == 1
            self.file.write_text(text.replace(line, line + block.text), encoding="utf-8")
        else:
            raise AssertionError(f"the page does not say what to do with:\n{block.text}")

    def run(self, command: str) -> None:
        # Installed next to the clone, not into the environment of the tests.
        command = command.replace("pip install", f"pip install -q {_HERE} --target site")
        tools = Path(sys.executable).parent
        settings = {
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(self.folder / "src"), str(self.folder / "site")]),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "COLUMNS": "120",
        }
        done = subprocess.run(
            ["bash", "-e", "-c", command],
            cwd=self.folder,
            env=os.environ | settings,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        self.outputs[command] = done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The page, followed from its beginning to its end."""
    clone = Clone(tmp_path_factory.mktemp("clone"))
    for block in blocks():
        clone.follow(block)
    return clone


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def test_the_page_shows_one_of_each_kind() -> None:
    made = [match[1] for block in blocks() if (match := MADE.search(block.before))]
    folders = [Path(name).parent.as_posix() for name in made]
    for folder in ("datasets/layouts", "features", "models", "recipes"):
        assert folders.count(f"src/genrescope/{folder}") == 1
    commands = " ".join(block.text for block in blocks() if block.language == "")
    assert "src/genrescope/aggregation.py" in PAGE
    for name in ("train", "tune", "evaluate", "classify", "recipes", "datasets check"):
        assert f"genrescope {name} " in commands
    # Every fence belongs to a block.
    assert PAGE.count("```") == 2 * len(blocks())


def test_what_the_page_adds_is_what_was_run(clone: Clone) -> None:
    where = "import genrescope; print(genrescope.__file__)"
    clone.run(f"python -c '{where}'")
    assert Path(clone.outputs[f"python -c '{where}'"].strip()).is_relative_to(clone.folder)
    recipe = yaml.safe_load((clone.folder / "runs/flux-gru/recipe.yaml").read_text())["recipe"]
    assert (recipe["feature"]["kind"], recipe["model"]["kind"]) == ("spectral_flux", "gru")
    bundle = json.loads((clone.folder / "runs/flux-gru/bundle/bundle.json").read_text())
    assert bundle["frontend"]["feature"]["kind"] == "spectral_flux"
    assert bundle["provenance"]["data"]["tracks"] == 4 * len(bundle["genres"])


def test_the_new_recipe_is_listed_and_its_model_classifies(clone: Clone) -> None:
    listed = next(text for command, text in clone.outputs.items() if " recipes " in command)
    assert "flux-gru" in listed
    assert "ready" in listed
    classified = next(text for command, text in clone.outputs.items() if " classify " in command)
    genres = json.loads((clone.folder / "runs/flux-gru/bundle/bundle.json").read_text())["genres"]
    assert classified.count(".flac") >= len(genres)


def test_the_family_and_the_study_left_what_the_page_promises(clone: Clone) -> None:
    runs = clone.folder / "runs"
    members = sorted(
        path.parent.relative_to(runs / "flux-sizes").as_posix()
        for path in (runs / "flux-sizes").rglob("metrics.json")
    )
    assert members == ["16/longer", "16/short"]
    assert (runs / "tune/flux-gru/best.yaml").is_file()


def test_the_new_classifier_chose_its_settings(clone: Clone) -> None:
    scores = metrics(clone.folder / "runs/flux-lda")
    assert scores["chosen_settings"]["of"] == 2
    # The clips of a genre are made by one program and hardly differ.
    assert scores["accuracy"] > 0.5


def test_the_new_encoder_is_found_by_its_entry_point(clone: Clone) -> None:
    assert "projection" in clone.outputs["genrescope encoders list"]
    with np.load(clone.folder / "projected.npz") as table:
        assert table["embedding"].shape == (len(list(clone.folder.glob("clips/*/*.flac"))), 32)


def test_the_new_rule_is_that_of_a_bundle(clone: Clone) -> None:
    bundle = json.loads((clone.folder / "runs/largest/bundle/bundle.json").read_text())
    assert bundle["aggregation"] == "largest"
    assert metrics(clone.folder / "runs/largest")["accuracy"] > 0.5


@pytest.mark.parametrize("tool", ["ruff check", "ruff format --check"])
def test_the_pages_code_is_as_clean_as_the_rest(clone: Clone, tool: str) -> None:
    made = [match[1] for block in blocks() if (match := MADE.search(block.before))]
    files = [name for name in made if name.startswith(("src/", "tests/")) and name.endswith(".py")]
    assert len(files) == 4
    clone.run(
        f"{tool} {' '.join(files)} src/genrescope/models/classical.py src/genrescope/aggregation.py"
    )
