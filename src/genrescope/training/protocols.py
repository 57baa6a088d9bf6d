"""From a split to the jobs of a run: the tracks that each model is trained and tested on.

Everything here is a pure function of the tracks and the settings. A job whose training tracks share
a recording with its validation or test tracks is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from genrescope.datasets import (
    Split,
    Track,
    group_tracks,
    listed_split,
    official_split,
    random_split,
    repeated_folds,
)
from genrescope.datasets.splits import divide
from genrescope.errors import DatasetError, RecipeError
from genrescope.training.settings import SplitSettings

Subset = Literal["validation", "test"]
Ids = tuple[str, ...]

HOLDOUT = "only"
"""Name of the one job of a run without folds."""
# Fraction of the training tracks to validate on, if the split has no validation subset.
_VALIDATION_FRACTION = 0.2


@dataclass(frozen=True)
class TrainingJob:
    """One training.

    Attributes
    ----------
    name
        Name of the job and of its folder, such as "fold-1".
    train
        Tracks the model is trained on.
    validation
        Tracks held out of training, on which settings and epochs are chosen.
    test
        Tracks on which nothing is trained or chosen.
    monitored
        Tracks on which the learning curve is measured.
    predicted
        Tracks whose logits are computed with the trained model.
    calibration
        Pairs of a job and a track: the model's temperature is fitted to the logits that the job's
        model computed for the track. Without any the temperature is 1.
    """

    name: str
    train: Ids
    validation: Ids = ()
    test: Ids = ()
    monitored: Ids = ()
    predicted: Ids = ()
    calibration: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Protocol:
    """The jobs of a run, in the order they are carried out.

    Attributes
    ----------
    jobs
        The model of the last one is the run's result.
    scored
        Predictions on this subset of each job are scored.
    validation
        The split's own validation tracks.
    """

    jobs: tuple[TrainingJob, ...]
    scored: Subset = "test"
    validation: Ids = ()

    @property
    def final(self) -> TrainingJob:
        """The job whose model is the run's result."""
        return self.jobs[-1]

    @property
    def used_in_training(self) -> frozenset[str]:
        """Ids of the tracks that the run's model was trained on, or validated on.

        Segments that were split as if they were tracks count as their track (`<id>#<number>`).
        """
        job = self.final
        used = {*job.train, *job.validation, *self.validation}
        return frozenset(used | {name.rpartition("#")[0] for name in used if "#" in name})

    def scored_tracks(self, job: TrainingJob) -> Ids:
        """The tracks of a job whose predictions are scored."""
        return job.test if self.scored == "test" else job.validation


def make_protocol(
    settings: SplitSettings,
    tracks: Sequence[Track],
    groups: Mapping[str, str],
    *,
    seed: int,
    needs_validation: bool,
    scored: Subset = "test",
) -> Protocol:
    """Divide tracks into the jobs of a run.

    Parameters
    ----------
    settings
        Settings of the split.
    tracks
        Tracks that can be used.
    groups
        Group of each track id; tracks of one group stay in one subset.
    seed
        Seed of random splits.
    needs_validation
        Whether training chooses settings or an epoch on validation tracks.
    scored
        "validation" trains and scores without using the test subset, as a search does.

    Raises
    ------
    DatasetError
        When the split can't be made of these tracks, or would leak.
    RecipeError
        When the validation subset should be scored and the split has none.
    """
    splitter = _ValidationSplitter(tracks, dict(groups), seed, needs_validation)
    if settings.kind == "folds":
        protocol = _cross_validation(settings, splitter, scored)
    else:
        split = _SPLITS[settings.kind](settings, tracks, dict(groups), seed)
        protocol = _search(split) if scored == "validation" else _holdout(split, splitter)
    recordings = group_tracks(tracks, by_artist=False)
    for job in protocol.jobs:
        Split(job.train, job.validation, job.test).check(recordings)
    return protocol


@dataclass(frozen=True)
class _ValidationSplitter:
    """Holds out training tracks, on which settings are chosen."""

    tracks: Sequence[Track]
    groups: dict[str, str]
    seed: int
    needs_validation: bool

    def hold_out(self, train: Ids) -> tuple[Ids, Ids]:
        """Divide training tracks into a training and a validation subset, if that is needed."""
        if not self.needs_validation:
            return train, ()
        by_id = {track.id: track for track in self.tracks}
        fractions = [1 - _VALIDATION_FRACTION, _VALIDATION_FRACTION]
        inside = [by_id[track] for track in train]
        held_out = divide(inside, self.groups, fractions, seed=self.seed)[1]
        if not held_out:
            raise DatasetError(f"{len(train)} training tracks are too few to choose settings on")
        return tuple(track for track in train if track not in set(held_out)), tuple(held_out)


def _holdout(split: Split, splitter: _ValidationSplitter) -> Protocol:
    """One job; the temperature is fitted on the split's validation tracks."""
    train, validation = split.train, split.validation
    if not validation:
        train, validation = splitter.hold_out(train)
    job = TrainingJob(
        HOLDOUT,
        train,
        validation,
        split.test,
        monitored=validation,
        predicted=(*split.train, *split.validation, *split.test),
        calibration=tuple((HOLDOUT, track) for track in split.validation),
    )
    return Protocol((job,), validation=split.validation)


def _search(split: Split) -> Protocol:
    """One job that is scored on the validation tracks, without a temperature."""
    if not split.validation:
        raise RecipeError("the split has no validation subset")
    job = TrainingJob(
        HOLDOUT,
        split.train,
        split.validation,
        monitored=split.validation,
        predicted=(*split.train, *split.validation),
    )
    return Protocol((job,), scored="validation")


def _cross_validation(
    settings: SplitSettings, splitter: _ValidationSplitter, scored: Subset
) -> Protocol:
    """A job for each fold, and a final one on all tracks, whose model is the result.

    A fold's temperature is fitted to the logits that the other folds' models computed for their own
    test tracks; the final model's to those of all folds.
    """
    if scored == "validation":
        raise RecipeError("a split into folds has no validation subset")
    jobs: list[TrainingJob] = []
    repetitions = repeated_folds(
        splitter.tracks,
        splitter.groups,
        folds=settings.folds,
        repeats=settings.repeats,
        seed=splitter.seed,
    )
    for repetition, splits in enumerate(repetitions, 1):
        prefix = "" if repetition == 1 else f"repeat-{repetition}-"
        names = [f"{prefix}fold-{number}" for number in range(1, len(splits) + 1)]
        tested = [
            (name, track) for name, split in zip(names, splits, strict=True) for track in split.test
        ]
        for name, split in zip(names, splits, strict=True):
            train, validation = splitter.hold_out(split.train)
            jobs.append(
                TrainingJob(
                    name,
                    train,
                    validation,
                    split.test,
                    # Where nothing is chosen, the learning curve may show the test tracks.
                    monitored=validation or split.test,
                    predicted=split.test,
                    calibration=tuple(pair for pair in tested if pair[0] != name),
                )
            )
    everything = tuple(track.id for track in splitter.tracks)
    train, validation = splitter.hold_out(everything)
    final = TrainingJob("final", train, validation, monitored=validation, calibration=tuple(tested))
    return Protocol((*jobs, final))


def _random(
    settings: SplitSettings, tracks: Sequence[Track], groups: dict[str, str], seed: int
) -> Split:
    return random_split(
        tracks,
        groups,
        train=settings.train,
        validation=settings.validation,
        test=settings.test,
        seed=seed,
    )


def _lists(
    settings: SplitSettings, tracks: Sequence[Track], _groups: dict[str, str], _seed: int
) -> Split:
    if settings.folder is None:
        raise RecipeError("a split by lists needs split.folder=FOLDER")
    return listed_split(tracks, settings.folder)


def _official(
    _settings: SplitSettings, tracks: Sequence[Track], _groups: dict[str, str], _seed: int
) -> Split:
    return official_split(tracks)


_SPLITS: dict[str, Callable[[SplitSettings, Sequence[Track], dict[str, str], int], Split]] = {
    "random": _random,
    "by_segment": _random,
    "lists": _lists,
    "official": _official,
}
