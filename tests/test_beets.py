"""The plugin for beets, in real beets: `beet` is run as a program, on a library of its own.

Run as a program (`python tests/test_beets.py`) it writes the blocks of docs/beets.md anew.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest
from mutagen.flac import FLAC

from genrescope import Classifier
from genrescope.examples import write_examples
from genrescope.library.tags import genre_name

pytest.importorskip("beets")

PAGE = Path(__file__).resolve().parents[1] / "docs" / "beets.md"
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
_BEET = "import sys; sys.argv[0] = 'beet'; from beets.ui import main; main()"
_CONFIG = """
directory: {home}/Music
plugins: genrescope
paths: {{default: $title, singleton: $title, comp: $title}}
genrescope: {{{options}}}
import: {{write: {write}}}
"""


def prepare(home: Path, options: str = "", write: str = "yes") -> Path:
    """Some tagged music that is new, one track with a genre, and a configuration of beets."""
    new = home / "New"
    for file in write_examples(new, seconds=4):
        title = {"walking-bass": "Jazz", "four-on-the-floor": "Disco"}.get(file.stem, file.stem)
        tags = FLAC(file)
        tags.delete()
        tags.update(title=title, artist="Synthesiser", album="Examples")
        if title == "Jazz":
            tags["genre"] = "Bebop"
        tags.save()
    (home / "config.yaml").write_text(_CONFIG.format(home=home, options=options, write=write))
    (home / "library.db").write_bytes(_empty_library())
    return new


@cache
def _empty_library() -> bytes:
    """A data base as beets makes it, with much ado, in its very first run."""
    with tempfile.TemporaryDirectory() as folder:
        beet(Path(folder), "version")
        return Path(folder, "library.db").read_bytes()


def beet(home: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _BEET, *words],
        env={**os.environ, "BEETSDIR": str(home), "HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def genres(home: Path) -> dict[str, str]:
    """What beets has of each track."""
    lines = beet(home, "list", "--format", "$title: $genres").splitlines()
    return {title: genre.strip() for title, _, genre in (line.partition(":") for line in lines)}


def tags(home: Path) -> dict[str, str | None]:
    """What the files in beets' folder say."""
    files = sorted((home / "Music").rglob("*.flac"))
    return {file.stem: (FLAC(file).get("genre") or [None])[0] for file in files}


def genres_of(new: Path, least: float) -> dict[str, str]:
    """What the classifier says of each file, as beets should have it."""
    classifier = Classifier.load()
    said = {}
    for file in sorted(new.iterdir()):
        prediction = classifier.predict(file)
        sure = prediction.genre is not None and prediction.confidence >= least
        said[FLAC(file)["title"][0]] = genre_name(str(prediction.genre)) if sure else ""
    return said | {"Jazz": "Bebop"}


def test_an_import_sets_what_is_sure_and_keeps_what_is_there(tmp_path: Path) -> None:
    new = prepare(tmp_path, "min_confidence: 0.6")
    wanted = genres_of(new, 0.6)
    assert {"", "Bebop"} < set(wanted.values())
    beet(tmp_path, "import", "-A", "-q", str(new))
    assert genres(tmp_path) == wanted
    assert tags(tmp_path) == {title: genre or None for title, genre in wanted.items()}
    # The music that was copied from is as it was.
    assert FLAC(new / "four-on-the-floor.flac").get("genre") is None


def test_the_command(tmp_path: Path) -> None:
    new = prepare(tmp_path, "auto: no, min_confidence: 0")
    wanted = genres_of(new, 0)
    beet(tmp_path, "import", "-A", "-q", str(new))
    before = dict.fromkeys(wanted, "") | {"Jazz": "Bebop"}
    assert genres(tmp_path) == before
    shown = beet(tmp_path, "genrescope", "--pretend")
    assert len(shown.splitlines()) == len(wanted) - 1
    assert genres(tmp_path) == before
    # A broken file is named, and the rest goes on.
    (tmp_path / "Music" / "Disco.flac").write_bytes(b"no audio" * 100)
    said = beet(tmp_path, "genrescope")
    (line,) = [line for line in said.splitlines() if "Disco" in line]
    assert re.search(r"genrescope: .*Disco\.flac: \w+", line)
    assert genres(tmp_path) == wanted | {"Disco": ""}
    (tmp_path / "Music" / "Disco.flac").unlink()
    assert tags(tmp_path) == {t: g for t, g in wanted.items() if t != "Disco"}
    # Only what is asked for, and only when told so, is replaced; and not in the file.
    true = Classifier.load().predict(new / "walking-bass.flac")
    beet(tmp_path, "genrescope", "--force", "--nowrite", "title:Jazz")
    assert genres(tmp_path)["Jazz"] == genre_name(str(true.genre)) != "Bebop"
    assert tags(tmp_path)["Jazz"] == "Bebop"


def test_files_are_left_alone_where_beets_does_not_write(tmp_path: Path) -> None:
    new = prepare(tmp_path, "min_confidence: 0, count: 2, force: yes", write="no")
    beet(tmp_path, "import", "-A", "-q", str(new))
    assert all(len(value.split("; ")) == 2 for value in genres(tmp_path).values())
    assert set(tags(tmp_path).values()) == {None, "Bebop"}
    # Of the whole album the mean is told.
    assert beet(tmp_path, "list", "-a", "--format", "$genres").strip()


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    prepare(tmp_path, "model: nowhere")
    said = beet(tmp_path, "genrescope", code=1)
    assert said.startswith("error: genrescope: nowhere")
    assert len(said.splitlines()) == 1


def rendered(text: str, home: Path) -> str:
    """The page with each console block as its commands make it, one after another."""
    prepare(home)

    def block(match: re.Match[str]) -> str:
        commands = [line for line in match[1].splitlines() if line.startswith("$ ")]
        return "```console\n" + "".join(f"{each}\n{output(each[2:])}" for each in commands) + "```"

    def output(command: str) -> str:
        words = [re.sub(r"^~", str(home), word) for word in shlex.split(command)[1:]]
        said = beet(home, *words).replace(str(home), "/home/you")
        return re.sub(r"[ \t]+$", "", said, flags=re.MULTILINE)

    return _BLOCK.sub(block, text)


def test_the_page_says_what_the_commands_say(tmp_path: Path) -> None:
    written = PAGE.read_text(encoding="utf-8")

    def comparable(text: str) -> str:
        return re.sub(r"\d+%", "#", text)  # of another processor it may differ by one

    assert comparable(rendered(written, tmp_path)) == comparable(written)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")
