"""The documentation site: built strictly, and asking nothing of the network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="needs genrescope[docs]")
pytestmark = pytest.mark.needs("docs")

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
# What a browser fetches by itself when it shows a page.
FETCHED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}


class References(HTMLParser):
    """Addresses that a page makes a browser fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fields = dict(attrs)
        if tag == "link" and fields.get("rel") in ("canonical", "prev", "next"):
            return
        self.found += filter(None, [fields.get(FETCHED.get(tag, ""))])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_there_and_fetches_nothing_from_elsewhere(site: Path) -> None:
    pages = {path.relative_to(site).as_posix(): path for path in site.rglob("*.html")}
    for source in (ROOT / "docs").rglob("*.md"):
        assert source.relative_to(ROOT / "docs").with_suffix(".html").as_posix() in pages
    for name, path in pages.items():
        for address in References(path.read_text(encoding="utf-8")).found:
            assert not re.match(r"(\w+:)?//", address), f"{name} fetches {address}"


def test_the_api_pages_show_what_the_packages_export(site: Path) -> None:
    page = (site / "api" / "inference.html").read_text(encoding="utf-8")
    for name in ("Classifier", "Classifier.predict", "Bundle.load", "Prediction"):
        assert f'id="genrescope.inference.{name}"' in page
    assert "Parameters" in page


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_a_page_with_its_pictures(notebook: Path, site: Path) -> None:
    page = (site / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
    shown = [name for name in References(page).found if name.startswith(f"{notebook.stem}-")]
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    pictures = [
        output
        for cell in cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", ())
    ]
    assert len(shown) == len(pictures) > 0
    assert all((site / "notebooks" / name).stat().st_size > 1000 for name in shown)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_gives_what_is_stored_in_it(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same kinds of output from the same cells; decimals differ from machine to machine."""
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from notebooks import executed

    stored = nbformat.read(notebook, as_version=4)
    assert '"ename"' not in notebook.read_text(encoding="utf-8"), "an error is stored"
    # Sockets of the kernel need a short path, which the tests' own folders need not have.
    with tempfile.TemporaryDirectory() as runtime:
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", runtime)
        for attempt in range(4):
            folder = tmp_path / str(attempt)
            folder.mkdir()
            try:
                ran = executed(nbformat.read(notebook, as_version=4), folder)
                break
            except RuntimeError:  # the kernel died at its start: its ports were taken meanwhile
                if attempt == 3:
                    raise
    for before, after in zip(stored.cells, ran.cells, strict=True):
        assert kinds(before) == kinds(after), before.source


def kinds(cell: dict) -> list[str]:
    return [each.get("name") or "/".join(sorted(each["data"])) for each in cell.get("outputs", ())]
