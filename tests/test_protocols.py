"""From a split to jobs: every rule of holdout, cross-validation and search, without training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genrescope.datasets import Track, group_tracks
from genrescope.errors import DatasetError, RecipeError
from genrescope.training.protocols import Protocol, make_protocol
from genrescope.training.settings import SplitSettings

SUBSETS = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
TRACKS = [
    Track(
        f"{genre}{n}", Path(f"{genre}{n}.wav"), genre, artist=f"{genre} {n // 2}", split=SUBSETS[n]
    )
    for genre in ("jazz", "rock")
    for n in range(10)
]
IDS = {track.id for track in TRACKS}


def protocol(
    *,
    tracks: list[Track] = TRACKS,
    needs_validation: bool = False,
    scored: Any = "test",
    **split: Any,
) -> Protocol:
    settings = SplitSettings.model_validate(split)
    groups = group_tracks(tracks, by_artist=settings.by_artist)
    return make_protocol(
        settings, tracks, groups, seed=0, needs_validation=needs_validation, scored=scored
    )


def test_holdout_calibrates_and_chooses_on_the_validation_subset() -> None:
    for needs_validation in (False, True):
        found = protocol(kind="official", needs_validation=needs_validation)
        (job,) = found.jobs
        for subset in ("train", "validation", "test"):
            assert set(getattr(job, subset)) == {t.id for t in TRACKS if t.split == subset}
        assert job.monitored == job.validation == found.validation
        assert job.calibration == tuple((job.name, track) for track in job.validation)
        assert set(job.predicted) == IDS
        assert found.scored_tracks(job) == job.test


def test_without_a_validation_subset_a_fifth_of_training_is_held_out_to_choose_on() -> None:
    split: dict[str, Any] = {"kind": "random", "train": 0.7, "validation": 0, "test": 0.3}
    (job,) = protocol(**split).jobs
    assert (job.validation, job.monitored, job.calibration) == ((), (), ())
    (choosing,) = protocol(**split, needs_validation=True).jobs
    assert set(choosing.train) | set(choosing.validation) == set(job.train)
    # 14 tracks of two genres: between one and two tracks of each.
    assert 2 <= len(choosing.validation) <= 4
    assert choosing.calibration == ()
    assert choosing.test == job.test


@pytest.mark.parametrize("needs_validation", [False, True])
def test_folds_test_each_track_once_and_calibrate_on_the_others_tests(
    needs_validation: bool,
) -> None:
    found = protocol(kind="folds", folds=4, repeats=2, needs_validation=needs_validation)
    *folds, final = found.jobs
    assert [job.name for job in folds[:5]] == [
        "fold-1", "fold-2", "fold-3", "fold-4", "repeat-2-fold-1",
    ]  # fmt: skip
    for repetition in (folds[:4], folds[4:]):
        assert sorted(track for job in repetition for track in job.test) == sorted(IDS)
        for job in repetition:
            others = {(o.name, track) for o in repetition if o is not job for track in o.test}
            assert set(job.calibration) == others
            assert set(job.train) | set(job.validation) | set(job.test) == IDS
            assert bool(job.validation) == needs_validation
            assert job.monitored == (job.validation or job.test)
            assert job.predicted == job.test
    assert final.name == "final"
    assert (final.test, final.predicted) == ((), ())
    assert set(final.train) | set(final.validation) == IDS
    assert {name for name, _ in final.calibration} == {job.name for job in folds[4:]}
    assert not found.validation


def test_a_search_never_sees_the_test_subset() -> None:
    found = protocol(kind="official", scored="validation")
    (job,) = found.jobs
    tested = {track.id for track in TRACKS if track.split == "test"}
    assert not tested & {*job.train, *job.validation, *job.test, *job.monitored, *job.predicted}
    assert found.scored_tracks(job) == job.validation
    for split in ({"kind": "folds"}, {"kind": "random", "train": 0.8, "validation": 0}):
        with pytest.raises(RecipeError, match="no validation subset"):
            protocol(**split, scored="validation")


@pytest.mark.parametrize("kind", ["random", "folds"])
def test_artists_stay_in_one_subset(kind: str) -> None:
    artist = {track.id: track.artist for track in TRACKS}
    for job in protocol(kind=kind, folds=3, by_artist=True, needs_validation=True).jobs:
        subsets = [{artist[t] for t in ids} for ids in (job.train, job.validation, job.test)]
        assert sum(map(len, subsets)) == len(set().union(*subsets))


def test_a_recording_in_two_subsets_is_refused() -> None:
    assert SUBSETS[0] == "train" and SUBSETS[9] == "test"
    repeated = [
        replace(track, recording="the same") if track.id in ("jazz0", "jazz9") else track
        for track in TRACKS
    ]
    with pytest.raises(DatasetError, match=r"jazz[09]"):
        protocol(kind="official", tracks=repeated)
