"""Kinds by name: built in, from another package's entry points, or with a word on what is near."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from genrescope.errors import RecipeError
from genrescope.registry import Registry, did_you_mean


def registry(**settings: dict[str, str]) -> Registry:
    builtin = {"path": "pathlib:Path", "absent": "no_such_module:X", "wrong": "pathlib:Nothing"}
    return Registry("thing", "genrescope.things", builtin, **settings)


def test_what_is_built_in() -> None:
    things = registry(aliases={"folder": "path"})
    assert things.names() == ["absent", "path", "wrong"]
    assert things.get("path") is Path
    assert things.get("folder") is Path
    assert "folder" in things
    assert "folders" not in things


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pth", r"no thing 'pth' \(did you mean 'path'\?\); there are: absent, path, wrong"),
        ("zzzzzz", r"no thing 'zzzzzz'; there are"),
        ("absent", r"thing absent: needs no_such_module: pip install 'genrescope\[more\]'"),
        ("wrong", "thing wrong: pathlib defines no Nothing"),
    ],
)
def test_what_is_not_there(name: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        registry(extras={"absent": "more"}).get(name)


def test_another_package_adds_a_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plug.py").write_text("class Thing: pass\n")
    info = tmp_path / "plug-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    entries = "[genrescope.things]\nplugged = plug:Thing\npath = plug:Thing\n"
    (info / "entry_points.txt").write_text(entries)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "plug", raising=False)
    things = registry()
    assert "plugged" in things.names()
    assert things.get("plugged").__name__ == "Thing"
    assert things.get("path") is Path, "a built-in kind was replaced from outside"


def test_a_near_name_is_proposed_as_it_is_spelled() -> None:
    assert did_you_mean("VGGISH", ["vggish", "mert"]) == " (did you mean 'vggish'?)"
    assert did_you_mean("hiphop", ["Hip-Hop", "Jazz"]) == " (did you mean 'Hip-Hop'?)"
    assert did_you_mean("x", []) == ""
