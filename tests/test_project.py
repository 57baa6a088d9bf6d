"""The project's own files: workflows, forms, extras, and which tests run where."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from conftest import EXTRAS, missing

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_make_test_skips_nothing_for_lack_of_an_extra() -> None:
    if os.environ.get("GENRESCOPE_TESTS") != "all":
        pytest.skip("only `make test` promises that every extra of `dev` is installed")
    assert missing("dev") == ()


def test_the_base_install_is_told_apart_from_the_extras() -> None:
    assert missing("test") == ()
    base = {re.match(r"[\w.-]+", each)[0] for each in PROJECT["dependencies"]}
    assert not base & {"torch", "pandas", "matplotlib", "scikit-learn", "librosa"}
    assert {"train", "lab", "encoders", "library", "docs", "test", "dev"} <= set(EXTRAS)


def test_every_dependency_has_a_version_that_was_tested() -> None:
    listed = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in listed}
    # `scale` is not part of `dev`: nothing here needs it yet.
    extras = [each for name in EXTRAS if name not in ("scale", "all") for each in EXTRAS[name]]
    for requirement in [*PROJECT["dependencies"], *extras]:
        name = re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")
        assert name == "genrescope" or name in pinned, requirement


class TestArchitecture:
    """`docs/architecture.md` names what there is."""

    TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

    def test_every_package_has_its_row(self) -> None:
        rows = re.findall(r"^\| `([a-z]+)` \|", self.TEXT, re.MULTILINE)
        package = ROOT / "src" / "genrescope"
        assert {path.parent.name for path in package.glob("*/__init__.py")} <= {*rows}

    def test_every_module_is_listed_once(self) -> None:
        """If not: python tools/modules.py"""
        listed = []
        for part in self.TEXT.partition("<!-- modules -->")[2].split("### ")[1:]:
            heading, _, table = part.partition("\n")
            above = "" if heading == "Base modules" else f"{heading}."
            listed += [above + name for name in re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)]
        package = ROOT / "src" / "genrescope"
        there = []
        for path in package.rglob("*.py"):
            names = path.relative_to(package).with_suffix("").parts
            names = names[:-1] if names[-1] == "__init__" else names
            if len(names) > 1 or (path.parent == package and names):
                there.append(".".join(names))
        assert sorted(listed) == sorted(there)

    def test_modules_it_speaks_of_are_there(self) -> None:
        package = ROOT / "src" / "genrescope"
        folders = "|".join(path.name for path in package.iterdir() if path.is_dir())
        for name in re.findall(rf"`((?:{folders})[./][a-z_]+)`", self.TEXT):
            path = package / name.replace(".", "/")
            exported = path.parent / "__init__.py"
            assert (
                path.is_dir()
                or path.with_suffix(".py").is_file()
                or path.name in exported.read_text(encoding="utf-8")
            ), name

    def test_the_glossary_has_at_most_fifteen_words(self) -> None:
        glossary = self.TEXT.partition("## Glossary")[2].partition("\n## ")[0]
        assert 10 <= len(re.findall(r"^- \*\*", glossary, re.MULTILINE)) <= 15


class TestWorkflows:
    """Checked against their schema, by actionlint, and against what the project promises."""

    @pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
    def test_they_follow_the_schema(self, path: Path) -> None:
        assert schema_errors("github-workflows", path) == ""

    @pytest.mark.parametrize("path", sorted((GITHUB / "ISSUE_TEMPLATE").glob("[!c]*.yml")))
    def test_issue_forms_follow_the_schema(self, path: Path) -> None:
        assert schema_errors("github-issue-forms", path) == ""

    def test_actionlint_finds_nothing(self, lint) -> None:
        assert lint(WORKFLOWS) == []

    def test_actionlint_would_find_something(self, lint, tmp_path: Path) -> None:
        wrong = tmp_path / "wrong.yml"
        text = WORKFLOWS[0].read_text(encoding="utf-8")
        wrong.write_text(text.replace("runs-on: ubuntu-latest", "runs-on: ${{ nothing.os }}", 1))
        assert any("nothing" in line for line in lint([wrong]))

    def test_every_promised_python_and_system_is_tested(self) -> None:
        jobs = yaml.safe_load((GITHUB / "workflows" / "test.yml").read_text("utf-8"))["jobs"]
        classifiers = " ".join(PROJECT["classifiers"])
        promised = re.findall(r"Python :: (3\.\d+)", classifiers)
        assert jobs["base"]["strategy"]["matrix"]["python"] == promised
        systems = jobs["base"]["strategy"]["matrix"]["os"]
        assert {name.partition("-")[0] for name in systems} == {"ubuntu", "macos", "windows"}

    @pytest.fixture
    def lint(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.syspath_prepend(str(ROOT / "tools"))
        from actionlint import problems

        def found(paths: list[Path]) -> list[str]:
            lines = problems(paths)
            if lines is None:
                pytest.skip("actionlint is not installed: python tools/actionlint.py --install")
            return lines

        return found


def schema_errors(schema: str, path: Path) -> str:
    pytest.importorskip("check_jsonschema", reason="needs genrescope[dev]")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr
