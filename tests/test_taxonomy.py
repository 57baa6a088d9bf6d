"""The taxonomy: its names, its tree, and what data sets call its genres."""

from __future__ import annotations

import pytest

from genrescope.hub.catalogue import audioset_labels, fitted_head, label_head
from genrescope.taxonomy import taxonomy

TREE = taxonomy()


def test_every_label_is_one_of_audiosets() -> None:
    known = set(audioset_labels())
    assert len(known) == 527
    used = {label for genre in TREE.genres.values() for label in genre.labels}
    for genre in TREE.genres.values():
        used |= set(genre.styles.values())
    for group in (TREE.instruments, TREE.moods, TREE.uses):
        used |= set(group.values())
    used |= {label for labels in TREE.sounds.values() for label in labels}
    assert used <= known


def test_there_are_two_levels() -> None:
    assert 15 <= len(TREE.genres) <= 20
    parents = {style: genre.name for genre in TREE.genres.values() for style in genre.styles}
    assert len(parents) >= 30
    assert parents["techno"] == "electronic" and parents["carnatic"] == "world"
    names = [*TREE.genres, *parents]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "genre"),
    [
        ("Hip-Hop", "hiphop"),
        ("hip hop", "hiphop"),
        ("TECHNO", "electronic"),
        ("Drum & Bass", "electronic"),
        ("drum and bass", "electronic"),
        ("Soul-RnB", "soul"),
        ("International", "world"),
        ("Heavy Metal", "metal"),
        ("Spoken", None),
        ("", None),
    ],
)
def test_names_are_found_by_any_spelling(name: str, genre: str | None) -> None:
    assert TREE.find(name) == genre


def test_names_of_genres_are_themselves() -> None:
    for name in TREE.genres:
        assert TREE.find(name) == name
        assert TREE.find(TREE.tag(name)) == name
    assert TREE.tag("children's") == "Children's"
    assert TREE.tag("techno") == "Techno"


def test_gtzans_genres_are_all_there() -> None:
    of_gtzan = {g.datasets["gtzan"] for g in TREE.genres.values() if "gtzan" in g.datasets}
    expected = [
        "blues",
        "classical",
        "country",
        "disco",
        "hiphop",
        "jazz",
        "metal",
        "pop",
        "reggae",
        "rock",
    ]
    assert of_gtzan == set(expected)


def test_the_fitted_head_has_an_offset_for_every_genre() -> None:
    fitted = fitted_head()
    assert set(fitted["offsets"]) == set(TREE.genres)
    head = label_head(fitted["offsets"], fitted["music_above"])
    assert list(head.genres) == list(TREE.genres)
    assert audioset_labels()[head.music] == "Music"
