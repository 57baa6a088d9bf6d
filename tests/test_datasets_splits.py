"""Published splits and repeated folds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from genrescope.datasets import (
    Track,
    group_tracks,
    mark_repeats,
    official_split,
    repeated_folds,
)
from genrescope.errors import DatasetError


def track(name: str, split: str | None = None, genre: str = "rock") -> Track:
    return Track(name, Path(f"{name}.wav"), genre, split=split)


def test_the_official_split_is_the_tracks_own() -> None:
    tracks = [
        *(track("e", "test"), track("b", "train"), track("a", "train")),
        *(track("c", "validation"), track("d")),
    ]
    split = official_split(tracks)
    assert (split.train, split.validation, split.test) == (("a", "b"), ("c",), ("e",))


def test_a_split_without_validation_has_that_subset_empty() -> None:
    assert official_split([track("a", "train"), track("b", "test")]).validation == ()


@pytest.mark.parametrize("subsets", [(None, None), ("train", "validation"), ("test", "test")])
def test_without_training_and_test_there_is_no_official_split(
    subsets: tuple[str | None, ...],
) -> None:
    with pytest.raises(DatasetError, match="no official split"):
        official_split([track(str(i), subset) for i, subset in enumerate(subsets)])


@pytest.mark.parametrize("pair", [("57371", "72149"), ("metal.00058", "rock.00016")])
def test_repeats_in_two_subsets_are_refused_by_name(pair: tuple[str, str]) -> None:
    tracks = mark_repeats([track(pair[0], "train"), track(pair[1], "test")], [pair])
    with pytest.raises(DatasetError, match=f"track {pair[1]} would be in test"):
        official_split(tracks)


def test_each_repetition_has_other_folds() -> None:
    tracks = [track(str(i), genre=f"g{i % 2}") for i in range(40)]
    groups = group_tracks(tracks, by_artist=False)
    repeats = repeated_folds(tracks, groups, folds=4, repeats=3, seed=5)
    assert [len(splits) for splits in repeats] == [4, 4, 4]
    for splits in repeats:
        tested = Counter(name for split in splits for name in split.test)
        assert tested == Counter(t.id for t in tracks)
    assert len({splits[0].test for splits in repeats}) == 3
    assert repeats[1:] == repeated_folds(tracks, groups, folds=4, repeats=2, seed=6)
