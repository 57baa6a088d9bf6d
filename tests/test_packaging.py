"""Wheel and sdist: built, installed into an empty environment, and run there."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import genrescope

pytest.importorskip("build", reason="needs genrescope[dev]")
pytestmark = pytest.mark.needs("dev")

ROOT = Path(__file__).resolve().parents[1]


def run(*command: object, cwd: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # A package index that does not answer at once is asked again.
    clean = {"PIP_RETRIES": "10", "PIP_DEFAULT_TIMEOUT": "60", **clean}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=clean, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def listed(*words: str) -> str:
    """The files git knows, whoever owns the checkout."""
    git = ["git", "-c", f"safe.directory={ROOT}", "ls-files"]
    return run(*git, "--cached", "--others", "--exclude-standard", *words, cwd=ROOT)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel, which is built from the sdist, and the sdist; from the files git knows."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    source.mkdir()
    for name in listed("-z").split("\0"):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--no-isolation", "-o", folder / "dist", source, cwd=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    return wheel, sdist


def test_the_wheel_has_all_of_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    names = listed("src").splitlines()
    expected = {name.removeprefix("src/") for name in names if (ROOT / name).exists()}
    assert inside == expected


def test_the_sdist_has_what_the_wheel_is_built_from(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "src/genrescope/__init__.py"} <= names


def test_the_version_is_one(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    assert metadata["Version"] == genrescope.__version__
    assert f"-{genrescope.__version__}-" in built[0].name
    places = [
        path.relative_to(ROOT).as_posix()
        for path in [*(ROOT / "src").rglob("*.py"), ROOT / "pyproject.toml"]
        if re.search(rf'version.*= *"{re.escape(genrescope.__version__)}"', path.read_text("utf-8"))
    ]
    assert places == ["src/genrescope/__init__.py"]


@pytest.fixture(scope="module")
def empty(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it depends on; the folder of its programs."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = [programs / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    run(*pip, "-c", ROOT / "constraints.txt", built[0], cwd=folder)
    return programs


def test_the_wheel_runs_in_an_empty_environment(empty: Path, tmp_path: Path) -> None:
    assert (
        run(empty / "genrescope", "--version", cwd=tmp_path).split()[-1] == genrescope.__version__
    )
    clips = run(empty / "genrescope", "examples", "clips", "--seconds", "3", cwd=tmp_path)
    table = run(empty / "genrescope", "classify", "clips", "--format", "csv", cwd=tmp_path)
    assert len(table.splitlines()) == 1 + len(clips.splitlines())
    code = "from genrescope import Classifier; print(len(Classifier.load().genres))"
    assert run(empty / "python", "-c", code, cwd=tmp_path).strip() == "10"


def test_the_base_install_has_no_torch(empty: Path, tmp_path: Path) -> None:
    listed = run(empty / "python", "-m", "pip", "list", "--format", "freeze", cwd=tmp_path)
    names = {line.partition("==")[0].lower() for line in listed.splitlines()}
    assert {"genrescope", "numpy", "onnxruntime"} <= names
    assert not names & {"torch", "lightning", "pandas", "matplotlib", "scikit-learn", "pytest"}
