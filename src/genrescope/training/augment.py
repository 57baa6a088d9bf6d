"""Batches of random segments, randomly changed; seeded by epoch, so that any epoch can be repeated.

Only training tracks pass through here: crops and mixtures stay within the tracks that are given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Generator, Tensor

from genrescope.training.settings import Augmentation

# Changes that exclude each other under the rule `one_of`; all of them without it.
NONE, GAIN, ROLL, NOISE, ALL = range(5)


@dataclass(frozen=True)
class TrainingTrack:
    """A track in memory.

    Attributes
    ----------
    values
        Scaled feature, float32 `[size, frames]`.
    label
        Index of its genre.
    targets
        A teacher's targets, in time order, `[n, targets]`; NaN where the teacher has none for the
        track.
    copies
        The same feature of changed copies of its audio; each segment has its own change, so that
        crops begin where a segment begins.
    separate
        Whether `values` are segments side by side, which no crop may straddle.
    """

    values: Tensor
    label: int
    targets: Tensor = field(default_factory=lambda: torch.zeros(1, 0))
    copies: tuple[Tensor, ...] = ()
    separate: bool = False


@dataclass(frozen=True)
class Batches:
    """All batches of one epoch, in random order.

    A batch is `(segments [n, size, frames], labels [n, genres], targets [n, targets])`: the labels
    are smoothed probabilities, all 0 for a track without a label; the targets are a teacher's.
    """

    tracks: list[TrainingTrack]
    genres: int
    frames: int
    batch_size: int
    label_smoothing: float
    augmentation: Augmentation
    seed: int
    epoch: int

    def __len__(self) -> int:
        return max(1, len(self.tracks) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        random = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.tracks), generator=random).tolist()
        # The tracks left over once the last batch is full are used in another epoch.
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield self._batch(
                [self.tracks[i] for i in order[start : start + self.batch_size]], random
            )

    def _batch(
        self, tracks: list[TrainingTrack], random: Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        settings = self.augmentation
        changes = torch.full((len(tracks),), ALL)
        if settings.one_of:
            changes = torch.randint(ALL, (len(tracks),), generator=random)
            # One change at most: what is cut from a changed copy has one already.
            changes[torch.tensor([bool(track.copies) for track in tracks])] = NONE
        crops, teacher_targets = zip(
            *(
                crop(track, self.frames, settings, random, roll=int(change) in (ROLL, ALL))
                for track, change in zip(tracks, changes, strict=True)
            ),
            strict=True,
        )
        segments, targets = torch.stack(crops), torch.stack(teacher_targets)
        known = torch.tensor([t.label for t in tracks])
        labels = F.one_hot(known.clamp_min(0), self.genres).float()
        labels = labels * (1 - self.label_smoothing) + self.label_smoothing / self.genres
        labels[known < 0] = 0.0
        segments = change_segments(segments, settings, random, changes)
        if settings.mixup:
            share = mixup_share(len(tracks), settings.mixup, random)
            other = torch.randperm(len(tracks), generator=random)
            segments = torch.lerp(segments[other], segments, share[:, None, None])
            labels = torch.lerp(labels[other], labels, share[:, None])
            targets = torch.lerp(targets[other], targets, share[:, None])
        return mask(segments, settings, random), labels, targets


def crop(
    track: TrainingTrack,
    frames: int,
    settings: Augmentation,
    random: Generator,
    *,
    roll: bool = True,
) -> tuple[Tensor, Tensor]:
    """Crop a track at random, stretch it in time, shift its bands; also the crop's mean targets.

    `frames` is the length of a segment.
    """
    values, separate = track.values, track.separate
    if track.copies and (number := _integer(1 + len(track.copies), random)):
        values, separate = track.copies[number - 1], True
    once = values.shape[1]
    factor = math.exp((2 * _uniform(random) - 1) * settings.stretch)
    length = max(1, round(frames * factor))
    if once < length:
        values = values.repeat(1, math.ceil(length / once))
    total = values.shape[1]
    if separate:
        start = frames * _integer((total - length) // frames + 1, random)
    else:
        start = _integer(total - length + 1, random)
    part = values[:, start : start + length]
    if length != frames:
        part = F.interpolate(part[None], size=frames, mode="linear", align_corners=False)[0]
    shift = _integer(2 * settings.roll + 1, random) - settings.roll
    if shift and roll:
        bands = torch.arange(part.shape[0]) - shift
        part = part[bands.clamp(0, part.shape[0] - 1)]
    count = len(track.targets)
    if length >= once:
        return part, track.targets.mean(dim=0)
    first = min(round(start / total * count), count - 1)
    last = max(first + 1, round((start + length) / total * count))
    return part, track.targets[first:last].mean(dim=0)


def change_segments(
    segments: Tensor, settings: Augmentation, random: Generator, changes: Tensor
) -> Tensor:
    """Apply random gain, equalizer and noise to each of `[n, size, frames]`.

    `changes` `[n]` says which of the exclusive changes each segment gets.
    """
    n, size, _ = segments.shape
    louder, noisy = (
        ((changes == change) | (changes == ALL)).float()[:, None, None] for change in (GAIN, NOISE)
    )
    factor = settings.gain * torch.randn(n, 1, 1, generator=random)
    segments = segments * (1 + louder * factor)
    # A setting that no recipe used drew these; without them a seed would give other batches.
    torch.randn(n, 1, 1, generator=random)
    if settings.equalizer:
        points = settings.equalizer * torch.randn(n, 1, 6, generator=random)
        curve = F.interpolate(points, size=size, mode="linear", align_corners=True)
        segments = segments + curve.transpose(1, 2)
    if settings.noise:
        level = noisy * settings.noise * torch.rand(n, 1, 1, generator=random)
        segments = segments + level * torch.randn(segments.shape, generator=random)
    return segments


def mask(segments: Tensor, settings: Augmentation, random: Generator) -> Tensor:
    """Set random ranges of frames and of bands to 0, in place (SpecAugment)."""
    _, size, frames = segments.shape
    for segment in segments:
        for _ in range(settings.masks):
            length = _integer(min(settings.mask_frames, frames) + 1, random)
            start = _integer(frames - length + 1, random)
            segment[:, start : start + length] = 0
            length = _integer(min(settings.mask_bands, size) + 1, random)
            start = _integer(size - length + 1, random)
            segment[start : start + length] = 0
    return segments


def mixup_share(n: int, parameter: float, random: Generator) -> Tensor:
    """Draw the shares of the first of two mixed segments, at least one half, `[n]`.

    They follow a symmetric beta distribution, by Jöhnk's method (1964), because torch's own
    sampler takes no generator.
    """
    share = torch.empty(n)
    for i in range(n):
        while True:
            u, v = (_uniform(random) ** (1 / parameter) for _ in range(2))
            if 0 < u + v <= 1:
                break
        share[i] = u / (u + v)
    return torch.maximum(share, 1 - share)


def _uniform(random: Generator) -> float:
    return float(torch.rand(1, generator=random))


def _integer(below: int, random: Generator) -> int:
    return int(torch.randint(below, (1,), generator=random))
