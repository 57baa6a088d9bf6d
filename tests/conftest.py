"""What all tests share: where the research data is, and which tests this installation can run."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, so that a failure comes from the change under test. Other examples
# are tried by `pytest --hypothesis-profile=default`.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))[
    "project"
]["optional-dependencies"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    no_data = not (SHARED / "data").is_dir()
    for item in items:
        if no_data and item.get_closest_marker("shared"):
            item.add_marker(pytest.mark.skip(reason=f"no research data at {SHARED / 'data'}"))
        for marker in item.iter_markers("needs"):
            for extra in marker.args:
                if absent := missing(extra):
                    reason = f"needs genrescope[{extra}]: {', '.join(absent)} not installed"
                    item.add_marker(pytest.mark.skip(reason=reason))


@cache
def missing(extra: str) -> tuple[str, ...]:
    """Packages of an extra, and of the extras it includes, that are not installed."""
    absent: list[str] = []
    for requirement in EXTRAS[extra]:
        name = re.match(r"[\w.-]+", requirement)[0]
        inner = re.match(r"genrescope\[([\w,]+)\]", requirement)
        for other in inner[1].split(",") if inner else []:
            absent += missing(other)
        if not inner:
            try:
                metadata.distribution(name)
            except metadata.PackageNotFoundError:
                absent.append(name)
    return tuple(dict.fromkeys(absent))


@pytest.fixture(scope="session")
def shared() -> Path:
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Features and embeddings that tests compute are kept out of the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
