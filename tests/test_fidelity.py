"""The pages about the papers: each value in their tables is that of the shipped recipe."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch", reason="needs genrescope[train]")

from genrescope.training.recipe import expand, load_recipe

DOCS = Path(__file__).resolve().parents[1] / "docs"


def _rows() -> list[list[str]]:
    lines = (DOCS / "fidelity.md").read_text(encoding="utf-8").splitlines()
    cells = [[c.strip() for c in x.strip("|").split("|")] for x in lines if x.startswith("| ")]
    return cells[2:]


@pytest.mark.parametrize("row", [r for r in _rows() if r[3]], ids=lambda r: f"{r[0]}: {r[1]}")
def test_a_statement_is_that_of_the_recipe(row: list[str]) -> None:
    value: Any = load_recipe(row[3]).model_dump(mode="json")
    for key in row[4].split("."):
        value = value[key]
    assert value == yaml.safe_load(row[5])


def test_each_statement_is_the_same_or_said() -> None:
    assert {row[2] for row in _rows()} == {"same", "said"}


@pytest.mark.parametrize("page", ["laboratory.md", "results.md"])
def test_the_recipes_of_the_commands_exist(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(r"genrescope (train|tune) ([\w./-]+)", text)
    assert found
    for command, name in found:
        if name.endswith(".yaml"):
            continue
        members = expand(name)
        if command == "tune":
            assert all(load_recipe(member).search for member in members)


@pytest.mark.parametrize("family", ["kth-table3", "kth-table4", "deepsound-vggish"])
def test_a_search_includes_the_recipes_own_values(family: str) -> None:
    from genrescope.training.study import own_settings

    for member in expand(family):
        assert own_settings(load_recipe(member))
