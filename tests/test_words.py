"""The project keeps to the field's words: none of its former private ones stand in code or docs.

What replaced them: read, decode, classify or evaluate; training, validation and test subset; held
out; next to or compared with; repetitions. `docs/architecture.md` has the glossary.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PRIVATE = re.compile(
    r"\b(heard|unheard|hears|hearing|aside|beside|twins?|dealt anew)\b"
    r"|\bthree sides\b|\b(training|validation|test) sides?\b|\bcan(?:'t| not|not)? be heard\b",
    re.IGNORECASE,
)
# Where such a word is plain English, or the name of something: file, then the words around it.
ALLOWED = {
    "src/genrescope/legacy.py": {'"heard.npz"', '"aside": "monitored"', '"heard": "predicted"'},
    "src/genrescope/audio/kinds.py": {'b"TWIN"'},
    "tests/test_library_recommend.py": {"twin.flac"},
    "tests/test_library_similar.py": {"twin.flac"},
}
KINDS = {".py", ".md", ".yaml", ".yml", ".html", ".css", ".js", ".ipynb", ".toml"}
FILES = [
    path
    for folder in ("src", "tests", "docs", "tools", "benchmarks", ".github")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in KINDS and path != Path(__file__)  # which must name them
]
FILES += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
FILES += [ROOT / "pyproject.toml", ROOT / "Makefile"]


def private_words(text: str, allowed: set[str]) -> list[str]:
    """Lines with a private word, with their numbers."""
    for words in allowed:
        text = text.replace(words, "")
    return [
        f"{number}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        if PRIVATE.search(line)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_private_word_stands_in(path: Path) -> None:
    allowed = ALLOWED.get(path.relative_to(ROOT).as_posix(), set())
    text = path.read_text(encoding="utf-8")
    assert all(words in text for words in allowed), "an exception is no longer needed"
    assert private_words(text, allowed) == []


@pytest.mark.parametrize(
    ("line", "private"),
    [
        ("tracks it had not heard", True),
        ("the training side", True),
        ("set beside the paper's figure", True),
        ("an hour-long mix is classified", False),
        ("on the other side of the fence", False),
        ("the training subset", False),
    ],
)
def test_private_words_are_found(line: str, private: bool) -> None:
    assert bool(private_words(line, set())) is private
