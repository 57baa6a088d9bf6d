"""The README and the Python pages are run as they are, and so are the examples of docstrings."""

from __future__ import annotations

import doctest
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genrescope.examples import write_examples

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


COMMANDS = [line for block in blocks("") for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("readme")
    write_examples(home / "examples", seconds=3)
    return home


def run(command: list[str] | str, folder: Path) -> subprocess.CompletedProcess[str]:
    here = Path(sys.executable).parent
    path = f"{here}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=900,
    )


def test_there_are_the_two_commands() -> None:
    assert COMMANDS[:2] == ["make classify", "make test"]
    # This very test is part of `make test`; that CI calls it is all that is left to check.
    assert "make test" in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("genrescope")])
def test_a_command_of_the_readme(command: str, folder: Path) -> None:
    done = run(command, folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout or "--out" in command or "--dry-run" in command


def test_the_collection_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One command after another, in a home of its own whose music has the names that are there."""
    pytest.importorskip("lancedb")
    music = tmp_path / "Music"
    write_examples(music, seconds=3)
    clips = {"song": "walking-bass", "other": "four-on-the-floor", "noise": "offbeat-organ"}
    for name, clip in clips.items():
        (music / f"{clip}.flac").rename(music / f"{name}.mp3")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    (block,) = (each for each in blocks("sh") if "genrescope scan" in each)
    lines = [line for line in block.splitlines() if line.startswith("genrescope")]
    assert len(lines) > 3
    for line in lines:
        done = run(line, music)
        assert done.returncode == 0, done.stderr
    assert (music / "alike.m3u8").is_file()
    assert (music / "map.html").is_file()
    assert not (tmp_path / "Sorted").exists(), "it only shows what it would do"


def test_the_laboratory_of_the_readme_names_what_there_is(folder: Path) -> None:
    (block,) = (each for each in blocks("sh") if "genrescope train" in each)
    recipes = re.findall(r"^genrescope train (\S+)", block, re.MULTILINE)
    assert recipes
    for recipe in recipes:
        assert run(["genrescope", "recipes", recipe], folder).returncode == 0


def test_the_python_of_the_readme(folder: Path) -> None:
    (code,) = blocks("python")
    done = run([sys.executable, "-c", code], folder)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1


def make(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The Makefile's recipe with the Python that runs the tests, which is not set up anew."""
    prefix = Path(sys.prefix)
    own = ["make", "-s", "-C", ROOT, f"VENV={prefix}", "-o", prefix / ".base"]
    return subprocess.run([*own, *words], capture_output=True, text=True, timeout=900)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
class TestMake:
    """make classify"""

    def test_a_folder(self, tmp_path: Path) -> None:
        write_examples(tmp_path / "some music", seconds=3)
        done = make("classify", f"MUSIC={tmp_path / 'some music'}")
        assert done.returncode == 0, done.stderr
        named = [line for line in done.stdout.splitlines() if line.endswith(".flac")]
        assert len(named) == 7

    def test_a_bad_file_is_listed_and_make_ends_well(self, tmp_path: Path) -> None:
        write_examples(tmp_path, seconds=3)
        (tmp_path / "bad.mp3").write_bytes(b"no music" * 100)
        done = make("classify", f"MUSIC={tmp_path}")
        assert done.returncode == 0, done.stderr
        assert "bad.mp3: not audio" in done.stderr
        assert "7 classified, 1 failed" in done.stderr
        assert "Error" not in done.stderr

    def test_nothing_is_an_error(self, tmp_path: Path) -> None:
        done = make("classify", f"MUSIC={tmp_path}")
        assert done.returncode == 2
        assert "no audio files in this folder" in done.stderr


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", ["README.md", "docs/default-model.md", "docs/model-card.md"])
def test_figures_were_written(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for name, content in re.findall(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", text, re.DOTALL):
        assert content.strip(), f"{name} is empty: python tools/figures.py runs"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_examples(folder)
    return folder


@pytest.mark.needs("notebook", "lab")
@pytest.mark.parametrize("name", ["python.md"])
def test_a_page_of_python(name: str, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page, one after another, in one namespace."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    assert code.count("\n") > 20
    # As a script, so that workers of its data loaders can import it.
    script = clips / "page.py"
    body = "".join(f"    {line}" for line in code.splitlines(keepends=True))
    script.write_text(f"if __name__ == '__main__':\n{body}")
    done = run([sys.executable, str(script)], clips)
    assert done.returncode == 0, done.stderr


_BASE = [
    "genrescope",
    "genrescope.aggregation",
    "genrescope.audio.decode",
    "genrescope.audio.files",
    "genrescope.audio.waveform",
    "genrescope.datasets.file_names",
    "genrescope.evaluation.significance",
    "genrescope.examples",
    "genrescope.inference",
    "genrescope.inference.bundle",
    "genrescope.inference.classifier",
    "genrescope.inference.prediction",
    "genrescope.registry",
    "genrescope.wording",
]
_EXTRA = [
    pytest.param("genrescope.evaluation.evaluate", marks=pytest.mark.needs("train")),
    pytest.param("genrescope.inference.display", marks=pytest.mark.needs("notebook")),
    pytest.param("genrescope.sklearn", marks=pytest.mark.needs("lab")),
    pytest.param("genrescope.torch", marks=pytest.mark.needs("train")),
]


@pytest.mark.parametrize("name", [*_BASE, *_EXTRA])
def test_examples_of_docstrings(name: str, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clips)
    tried = doctest.testmod(importlib.import_module(name), verbose=False)
    assert tried.attempted > 0
    assert tried.failed == 0


def test_the_list_of_formats_is_the_codes() -> None:
    spec = importlib.util.spec_from_file_location("formats", ROOT / "tools" / "formats.py")
    formats = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(formats)
    page = formats.PAGE.read_text(encoding="utf-8")
    assert formats.table() in page, "python tools/formats.py"
    assert formats.filled(page) == page
