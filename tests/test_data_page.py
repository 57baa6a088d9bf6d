"""The data page says what the code says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.needs("lab")

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/data.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("data_page", ROOT / "tools/data_page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_tables_are_those_of_now(tool: ModuleType) -> None:
    assert tool.written(PAGE, None) == PAGE, "run python tools/data_page.py"


@pytest.mark.shared
def test_sizes_and_hashes_are_those_of_the_files(tool: ModuleType, shared: Path) -> None:
    assert tool.written(PAGE, shared / "data") == PAGE


def test_it_has_every_file_that_a_recipe_needs(tool: ModuleType) -> None:
    names = {Path(name).name for name in tool.FILES}
    assert {file for files in tool._STORED.values() for file in files} <= names
