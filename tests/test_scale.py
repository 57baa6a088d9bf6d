"""The simulation of the pipeline, and what is written about dependencies."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from scale_model import Costs, Machine, simulate
from supply_chain import PAGE, dependencies, normalised, sbom, users_requirements, weights

from conftest import ROOT


@pytest.mark.parametrize("cores", [1, 2, 7])
def test_simulated_cores_share_the_work(cores: int) -> None:
    files = [Costs(0.3, 0.1, 1000, 30.0)] * 70 * cores
    assert simulate(files, Machine(cores=cores)) == pytest.approx(70 * 0.4, rel=0.02)


def test_a_slow_link_or_a_slow_answer_is_the_limit() -> None:
    files = [Costs(0.01, 0.01, 10**6, 30.0)] * 50
    slow_link = Machine(cores=8, bandwidth=1e6)
    assert simulate(files, slow_link) == pytest.approx(50.02)
    slow_answer = Machine(cores=8, latency=2.0, requests=5)
    assert simulate(files, slow_answer) == pytest.approx(50 / 5 * 2.0, rel=0.05)


def test_a_full_queue_holds_the_stage_before_it_back() -> None:
    # The network takes all cores as soon as it has something: nothing is decoded in vain.
    files = [Costs(0.1, 10.0, 1, 30.0)] * 4
    assert simulate(files, Machine(cores=1, ahead=1)) == pytest.approx(40.4)


def test_the_page_of_licences_has_every_dependency_and_all_weights() -> None:
    text = PAGE.read_text("utf-8")
    listed = set(re.findall(r"^\| ([a-z0-9-]+) \|", text, re.MULTILINE))
    found = dependencies(users_requirements())
    assert "numpy" in found
    assert set(found) <= listed, f"python tools/supply_chain.py licences: {set(found) - listed}"
    for file, licence, _, _ in weights() if all(found.values()) else []:
        assert file in text
        assert licence


@pytest.mark.slow
@pytest.mark.needs("dev")
def test_the_bill_of_materials_lists_what_is_installed(tmp_path: Path) -> None:
    sbom(tmp_path / "sbom.json")
    document = json.loads((tmp_path / "sbom.json").read_text("utf-8"))
    assert document["bomFormat"] == "CycloneDX"
    names = {normalised(component["name"]) for component in document["components"]}
    direct = {normalised(re.match(r"[\w.-]+", text)[0]) for text in users_requirements()}
    assert {"numpy", "av", "onnxruntime"} <= names
    assert {name for name in direct if dependencies([name])[name] is not None} <= names


def test_pinned_versions_cover_what_users_install() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {normalised(line.partition("==")[0]) for line in lines if "==" in line}
    found = dependencies(users_requirements())
    assert {name for name, each in found.items() if each is not None} <= pinned | {"setuptools"}
