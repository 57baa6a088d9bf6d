"""Spellings of genres: which mean the same, in the one place that all commands ask."""

from __future__ import annotations

import pytest

from genrescope.genres import find_genre, genre_key, one_spelling, same_genre

SPELLINGS = [
    ["hiphop", "Hip-Hop", "hip hop", "HIP_HOP", " Hip - Hop ", "Hip‐Hop", "hip/hop"],
    ["R&B", "r & b", "R'n'B", "R n B", "r and b", "RnB", "R+B", "R’n’B"],
    ["Drum & Bass", "drum and bass", "drum_n_bass", "Drum'n'Bass", "DnB", "D&B"],
    ["Rock & Roll", "rock and roll", "Rock'n'Roll", "rock-n-roll"],
    ["Forró", "forro", "FORRÓ", "Forro\u0301"],
    ["Folk, World, & Country", "folk world and country"],
]


@pytest.mark.parametrize("names", SPELLINGS, ids=lambda names: names[0])
def test_spellings_of_one_genre_have_one_key(names: list[str]) -> None:
    assert len({genre_key(name) for name in names}) == 1


def test_different_genres_have_different_keys() -> None:
    others = [
        "n",
        "&",
        "and",
        "***",
        "!!!",
        "Rock",
        "Punk Rock",
        "Pop",
        "pop rock",
        "",
        "邦楽",
        "民謡",
    ]
    names = [names[0] for names in SPELLINGS] + others
    assert len({genre_key(name) for name in names} - {genre_key("and")}) == len(names) - 2


def test_the_same_spelling_is_found_first() -> None:
    assert find_genre("Hip-Hop", ["hiphop", "Hip-Hop"]) == "Hip-Hop"
    assert find_genre("HIP HOP", ["rock", "hiphop", "Hip-Hop"]) == "hiphop"
    assert find_genre("polka", ["rock"]) is None
    assert same_genre("Hip-Hop", "hip hop")


def test_the_most_frequent_spelling_is_used() -> None:
    names = ["Rock", "rock", "rock", "Hip-Hop", "hip hop", "jazz"]
    assert one_spelling(names) == {
        "Rock": "rock",
        "rock": "rock",
        "jazz": "jazz",
        "Hip-Hop": "Hip-Hop",
        "hip hop": "Hip-Hop",
    }
