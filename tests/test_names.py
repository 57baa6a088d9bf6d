"""Names are found however people spell them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrescope.names import folded, has_words, name_key


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("acdc", "AC/DC"),
        ("ac dc", "AC/DC"),
        ("rem", "R.E.M."),
        ("beyonce", "Beyoncé"),
        ("royksopp", "Röyksopp"),
        ("motley crue", "Mötley Crüe"),
        ("mo", "MØ"),
        ("dont stop", "Don’t Stop"),
        ("jayz", "Jay-Z"),
        ("guns n roses", "Guns N' Roses"),
        ("simon and garfunkel", "Simon & Garfunkel"),
        ("florence and the machine", "Florence + the Machine"),
    ],
)
def test_spellings_of_one_name(typed: str, name: str) -> None:
    assert name_key(typed) == name_key(name)
    assert has_words(f"{name} - A Song", typed)


@given(st.text(), st.text())
def test_keys_are_keys(one: str, other: str) -> None:
    assert folded(folded(one)) == folded(one)
    assert name_key(name_key(one)) == name_key(one)
    assert bool(name_key(one)) == bool(folded(one))
    if name_key(one) != name_key(other):
        assert one != other


@pytest.mark.parametrize(
    ("one", "other"),
    [("राम", "रोम"), ("मीरा", "मारी"), ("กิน", "กัน"), ("தமிழ்", "தாமழ"), ("バス", "ハス")],
)
def test_marks_that_make_another_sound_count(one: str, other: str) -> None:
    assert name_key(one) != name_key(other)


@pytest.mark.slow
def test_a_library_finds_them(tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    from genrescope.errors import GenrescopeError
    from genrescope.library.queries import find_track
    from libraries import entry, make_library

    rows = [
        entry("1.mp3", np.arange(16), artist="AC/DC", title="T.N.T."),
        entry("2.mp3", np.arange(16), artist="Sigur Rós", title="( )"),
        entry("3.mp3", np.arange(16), artist="!!!", title="Pardon My Freedom"),
        entry("4.mp3", np.arange(16), artist="P", title="Q", album_artist="Godspeed You!"),
    ]
    library = make_library(tmp_path / "library", rows)

    def found(name: str) -> str:
        track = find_track(library, name)
        assert track is not None
        return track.path

    assert [found(name) for name in ("acdc", "tnt", "ACDC - TNT", "acdc tnt")] == ["1.mp3"] * 4
    assert [found(name) for name in ("sigur ros", "( )", "!!!")] == ["2.mp3", "2.mp3", "3.mp3"]
    assert found("godspeed you") == "4.mp3"
    with pytest.raises(GenrescopeError):
        found("abba")
