"""Augmented batches: repeatable, and within the training tracks; and a teacher's targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs genrescope[train]")

import torch

from genrescope.errors import DatasetError
from genrescope.training.augment import (
    ALL,
    Batches,
    TrainingTrack,
    change_segments,
    crop,
    mask,
    mixup_share,
)
from genrescope.training.distillation import load_targets, standardised_targets
from genrescope.training.recipe import load_recipe
from genrescope.training.settings import Augmentation

SIZE, GENRES = 12, 3
PLAIN = Augmentation()
FULL = Augmentation(
    stretch=0.2,
    roll=2,
    gain=0.1,
    equalizer=0.3,
    noise=0.2,
    masks=2,
    mask_frames=6,
    mask_bands=3,
    mixup=0.3,
)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(frames: int, stretches: int = 1, number: int = 0) -> TrainingTrack:
    """Make a track whose every value and target encodes the track and the time."""
    values = (1000 * number + torch.arange(frames, dtype=torch.float32)).repeat(SIZE, 1)
    centres = (torch.arange(stretches) + 0.5) * frames / stretches
    return TrainingTrack(values, number % GENRES, 1000 * number + centres[:, None])


TRACKS = [ramp(60 + 5 * number, 20, number) for number in range(11)]


def epoch(
    settings: Augmentation = FULL, seed: int = 1, epoch: int = 0, tracks: list = TRACKS, **more
) -> list[tuple[torch.Tensor, ...]]:
    given = {"genres": GENRES, "frames": 32, "batch_size": 4, "label_smoothing": 0.1, **more}
    return list(Batches(tracks=tracks, augmentation=settings, seed=seed, epoch=epoch, **given))


def equal(some: list, others: list) -> bool:
    return all(
        torch.equal(one, other)
        for batch, other_batch in zip(some, others, strict=True)
        for one, other in zip(batch, other_batch, strict=True)
    )


def test_an_epoch_is_repeatable_bit_for_bit() -> None:
    first = epoch()
    torch.manual_seed(99)  # what else draws random numbers makes no difference
    assert equal(first, epoch())


@pytest.mark.parametrize("other", [{"seed": 2}, {"epoch": 1}, {"seed": 0, "epoch": 1}])
@pytest.mark.parametrize("settings", [PLAIN, FULL], ids=["plain", "full"])
def test_other_epochs_and_seeds_differ(settings: Augmentation, other: dict[str, int]) -> None:
    assert not equal(epoch(settings), epoch(settings, **other))


@pytest.mark.parametrize(("count", "sizes"), [(11, [4, 4]), (8, [4, 4]), (3, [3]), (4, [4])])
def test_an_epoch_is_full_batches_of_each_track_once(count: int, sizes: list[int]) -> None:
    batches = epoch(PLAIN, tracks=TRACKS[:count])
    assert [len(segments) for segments, _, _ in batches] == sizes
    for segments, targets, teacher in batches:
        assert segments.shape[1:] == (SIZE, 32)
        assert targets.shape[1:] == (GENRES,)
        assert teacher.shape[1:] == (1,)
    seen = [int(segment.min()) // 1000 for segments, _, _ in batches for segment in segments]
    assert len(set(seen)) == sum(sizes)
    assert set(seen) <= set(range(count))


def test_all_tracks_come_in_the_course_of_the_epochs() -> None:
    seen = {
        int(segment.min()) // 1000
        for number in range(10)
        for segments, _, _ in epoch(PLAIN, epoch=number)
        for segment in segments
    }
    assert seen == set(range(11))


def test_segment_label_and_targets_are_of_one_track() -> None:
    for number in range(20):
        for segments, targets, teacher in epoch(PLAIN, epoch=number):
            track = segments[:, 0, 0] // 1000
            assert torch.equal(targets.argmax(dim=1), (track % GENRES).long())
            assert torch.equal(teacher[:, 0] // 1000, track)


def test_only_the_tracks_given_are_mixed() -> None:
    # Tracks that are constants 0 and 1: mixtures lie between, and the share can be read off.
    tracks = [
        TrainingTrack(torch.full((SIZE, 40), float(n)), n, torch.full((1, 1), float(n)))
        for n in (0, 1)
    ]
    mixed = Augmentation(mixup=0.5)
    for number in range(30):
        settings = {"tracks": tracks, "batch_size": 2, "genres": 2, "label_smoothing": 0}
        ((segments, targets, teacher),) = epoch(mixed, epoch=number, **settings)
        share = segments[:, 0, 0]
        assert ((share >= 0) & (share <= 1)).all()
        torch.testing.assert_close(segments, share[:, None, None].expand(2, SIZE, 32))
        torch.testing.assert_close(targets[:, 1], share)
        torch.testing.assert_close(teacher[:, 0], share)


@pytest.mark.parametrize("settings", [PLAIN, FULL], ids=["plain", "full"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_targets_are_smoothed_probabilities(settings: Augmentation, smoothing: float) -> None:
    for _, targets, _ in epoch(settings, label_smoothing=smoothing):
        torch.testing.assert_close(targets.sum(dim=1), torch.ones(len(targets)))
        assert targets.min() >= smoothing / GENRES - 1e-6
        if settings is PLAIN:
            torch.testing.assert_close(
                targets.max(dim=1).values, torch.full((4,), 1 - smoothing + smoothing / GENRES)
            )


def test_unknown_targets_are_nan_and_the_segments_whole() -> None:
    tracks = [replace(track, targets=torch.full((1, 5), torch.nan)) for track in TRACKS]
    for segments, targets, teacher in epoch(FULL, tracks=tracks):
        assert teacher.shape == (4, 5)
        assert teacher.isnan().all()
        assert segments.isfinite().all()
        assert targets.isfinite().all()


def test_the_default_recipe_can_be_drawn_from() -> None:
    recipe = load_recipe("default")
    frames = recipe.frontend.segment_frames
    tracks = [
        TrainingTrack(torch.randn(96, 344, generator=random(n)), n, torch.zeros(1, 0))
        for n in range(3)
    ]
    ((segments, _, teacher),) = epoch(recipe.augmentation, tracks=tracks, frames=frames)
    assert segments.shape == (3, 96, frames)
    assert segments.isfinite().all()
    assert teacher.shape == (3, 0)


def test_a_plain_crop_is_a_stretch_of_the_track() -> None:
    starts = set()
    for seed in range(300):
        part, _ = crop(ramp(40), 32, PLAIN, random(seed))
        assert torch.equal(part[0], part[0, 0] + torch.arange(32))
        starts.add(int(part[0, 0]))
    assert starts == set(range(9))


def test_a_short_track_is_repeated_to_fill_a_crop() -> None:
    part, _ = crop(ramp(10), 32, PLAIN, random())
    assert torch.equal(part[0], (part[0, 0] + torch.arange(32)) % 10)


def test_stretching_keeps_within_its_limits() -> None:
    speeds = []
    for seed in range(200):
        part, _ = crop(ramp(200), 64, Augmentation(stretch=0.3), random(seed))
        assert part.shape == (SIZE, 64)
        speeds.append(float(part[0, 40] - part[0, 20]) / 20)
    assert np.exp(-0.31) < min(speeds) < np.exp(-0.25)
    assert np.exp(0.25) < max(speeds) < np.exp(0.31)


def test_rolling_shifts_bands_and_repeats_the_edge() -> None:
    track = TrainingTrack(torch.arange(SIZE)[:, None].repeat(1, 40).float(), 0, torch.zeros(1, 1))
    shifts = set()
    for seed in range(100):
        bands = crop(track, 32, Augmentation(roll=2), random(seed))[0][:, 0]
        shift = 6 - int(bands[6])
        assert torch.equal(bands, (torch.arange(SIZE) - shift).clamp(0, SIZE - 1).float())
        shifts.add(shift)
    assert shifts == {-2, -1, 0, 1, 2}


@pytest.mark.parametrize("stretch", [0.0, 0.4])
@pytest.mark.parametrize("stretches", [1, 7, 28, 200])
def test_the_targets_are_those_of_the_crop(stretch: float, stretches: int) -> None:
    track = ramp(344, stretches)
    for seed in range(50):
        part, teacher = crop(track, 128, Augmentation(stretch=stretch), random(seed))
        # A stretch's target is its time, so the mean of those of a crop is the crop's middle, to
        # half a stretch at either end.
        middle = float(part[0].mean())
        if stretches > 1:
            assert float(teacher) == pytest.approx(middle, abs=344 / stretches / 2 + 1)
        else:
            assert float(teacher) == 172


def test_a_repeated_track_has_the_mean_of_all_its_targets() -> None:
    for seed in range(20):
        _, teacher = crop(ramp(100, 10), 128, PLAIN, random(seed))
        assert float(teacher) == pytest.approx(50)


def test_nothing_is_changed_unasked() -> None:
    segments = torch.randn(3, SIZE, 20, generator=random())
    assert torch.equal(
        change_segments(segments.clone(), PLAIN, random(1), torch.full((len(segments),), ALL)),
        segments,
    )


@pytest.mark.parametrize(
    ("settings", "deviation"),
    [
        ({"gain": 0.2}, 2 * 0.2),  # of a constant 2
        ({"equalizer": 0.3}, 0.3),
        ({"noise": 0.6}, 0.6 / 3**0.5),  # a level even between 0 and 0.6: root mean square
    ],
)
def test_changes_have_the_strength_asked_for(settings: dict[str, float], deviation: float) -> None:
    segments = torch.full((3000, SIZE, 4), 2.0)
    changed = change_segments(
        segments, Augmentation(**settings), random(), torch.full((3000,), ALL)
    )
    last = changed[:, -1, 0]
    assert float(last.mean()) == pytest.approx(2, abs=0.04)
    assert float(last.std()) == pytest.approx(deviation, rel=0.08)
    if "noise" not in settings:
        assert torch.equal(changed, changed[..., :1].expand_as(changed)), "all frames alike"


def widths(mask: torch.Tensor) -> list[int]:
    """Lengths of the runs of ones."""
    return [len(run) for run in "".join(str(int(one)) for one in mask).split("0") if run]


def test_masks_keep_within_their_limits() -> None:
    settings = Augmentation(masks=1, mask_frames=6, mask_bands=3)
    masked = mask(torch.ones(500, SIZE, 32), settings, random()) == 0
    frames = [widths(one.all(dim=0)) for one in masked]
    bands = [widths(one.all(dim=1)) for one in masked]
    assert {len(runs) for runs in frames + bands} <= {0, 1}
    assert {sum(runs) for runs in frames} == set(range(7))
    assert {sum(runs) for runs in bands} == set(range(4))
    crossed = masked.all(dim=1)[:, None, :] | masked.all(dim=2)[:, :, None]
    assert torch.equal(masked, crossed), "only whole frames and whole bands"


def test_masks_fall_anywhere_even_where_they_are_larger_than_the_segment() -> None:
    settings = Augmentation(masks=1, mask_frames=6, mask_bands=3)
    masked = mask(torch.ones(500, SIZE, 32), settings, random()) == 0
    assert masked.any(dim=0).all()
    huge = Augmentation(masks=1, mask_frames=999, mask_bands=999)
    assert mask(torch.ones(50, SIZE, 32), huge, random()).shape == (50, SIZE, 32)


def test_no_masks_no_change() -> None:
    settings = Augmentation(mask_frames=6, mask_bands=3)
    assert mask(torch.ones(5, SIZE, 32), settings, random()).all()


@pytest.mark.parametrize("parameter", [0.2, 0.3, 1.0, 2.0])
def test_mixup_shares_are_of_a_beta_distribution(parameter: float) -> None:
    share = mixup_share(8000, parameter, random()).double()
    assert 0.5 <= float(share.min()) <= float(share.max()) <= 1
    # Of a symmetric beta distribution, folded at its middle: the second and fourth moments about
    # 1/2, which folding leaves alone.
    variance = 1 / (4 * (2 * parameter + 1))
    kurtosis = 3 - 6 / (2 * parameter + 3)
    assert float(((share - 0.5) ** 2).mean()) == pytest.approx(variance, rel=0.05)
    assert float(((share - 0.5) ** 4).mean()) == pytest.approx(kurtosis * variance**2, rel=0.08)


# What follows is about files of a teacher's targets, and which of them are used.


def save_targets(path: Path, activations: np.ndarray, ids: list[str]) -> Path:
    np.savez(path, X=activations, IDS=np.array(ids))
    return path


def test_targets_are_read_as_log_odds_by_track(tmp_path: Path) -> None:
    activations = np.array([[0.5, 0.9], [0.0, 1.0], [0.1, 0.2]])
    ids = ["jazz/jazz.00001.wav", "jazz/jazz.00001.wav", "rock/rock.00002.wav"]
    targets = load_targets([save_targets(tmp_path / "t.npz", activations, ids)])
    assert list(targets) == ["jazz.00001", "rock.00002"]
    limit = np.log(0.999 / 0.001)
    np.testing.assert_allclose(
        targets["jazz.00001"], [[0, np.log(9)], [-limit, limit]], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(targets["rock.00002"], [[-np.log(9), -np.log(4)]], rtol=1e-5)


def test_embeddings_are_targets_as_they_are(tmp_path: Path) -> None:
    values = np.array([[0.0, 255.0], [10.0, 20.0], [1.0, 2.0]], np.float16)
    np.savez(tmp_path / "t.npz", X=values, track_id=np.array([140, 2, 140]))
    targets = load_targets([tmp_path / "t.npz"])
    np.testing.assert_array_equal(targets["140"], [[0, 255], [1, 2]])
    np.testing.assert_array_equal(targets["2"], [[10, 20]])
    np.savez(tmp_path / "t.npz", X=np.array([[np.inf]]), track_id=np.array([2]))
    with pytest.raises(DatasetError, match="not finite"):
        load_targets([tmp_path / "t.npz"])


@pytest.mark.parametrize(
    ("key", "names", "ids"),
    [
        ("track_id", ["jazz.00000", "blues.00001", "blues.00000"], None),
        ("track_id", ["rock/001", "blues/001", "blues/Vol. 2"], None),
        ("track_id", ["b.wav", "a.b", "a.00001.MP3"], ["b", "a.b", "a.00001"]),
        (
            "IDS",
            ["x/jazz.00000.wav", "x/blues.00001.wav", "blues.00000"],
            ["jazz.00000", "blues.00001", "blues.00000"],
        ),
        ("IDS", ["rock/1.wav", "blues/1.wav", "blues/2.wav"], ["rock/1", "blues/1", "blues/2"]),
        ("IDS", ["x/rock/1.wav", "y/rock/1.wav", "2.wav"], ["x/rock/1", "y/rock/1", "2"]),
    ],
)
def test_each_track_has_its_own_targets(
    tmp_path: Path, key: str, names: list[str], ids: list[str] | None
) -> None:
    values = np.array([[10.0], [20.0], [30.0], [40.0]], np.float32)
    np.savez(tmp_path / "t.npz", X=values, **{key: np.array([*names, names[0]])})
    found = load_targets([tmp_path / "t.npz"])
    expected = dict(zip(ids or names, [[10, 40], [20], [30]], strict=True))
    assert {track: rows[:, 0].tolist() for track, rows in found.items()} == expected


@pytest.mark.parametrize("key", ["track_id", "IDS"])
def test_names_of_targets_that_become_one_track_are_refused(tmp_path: Path, key: str) -> None:
    np.savez(tmp_path / "t.npz", X=np.full((2, 1), 9.0), **{key: np.array(["a.wav", "a.mp3"])})
    with pytest.raises(DatasetError, match=r"t.npz: a.wav and a.mp3 would both be the track a"):
        load_targets([tmp_path / "t.npz"])


def test_a_track_in_two_files_of_targets_is_refused(tmp_path: Path) -> None:
    files = [save_targets(tmp_path / f"{n}.npz", np.full((1, 3), 0.5), ["a.wav"]) for n in (1, 2)]
    with pytest.raises(DatasetError, match=r"track a is in .*1.npz and in .*2.npz"):
        load_targets(files)


def test_files_of_targets_are_joined(tmp_path: Path) -> None:
    files = [
        save_targets(tmp_path / f"{name}.npz", np.full((2, 3), 0.5), [name] * 2) for name in "ab"
    ]
    assert {name: values.shape for name, values in load_targets(files).items()} == {
        "a": (2, 3),
        "b": (2, 3),
    }
    save_targets(files[1], np.full((2, 4), 0.5), ["b"] * 2)
    with pytest.raises(DatasetError, match=r"b.npz: 4 targets, unlike the file before it"):
        load_targets(files)


def save_objects(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, X=np.array([[object()]]), IDS=np.array(["a"]))


def save_one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros((2, 3)))


def save_other_names(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, Y=np.zeros(3))


def save_cut(path: Path) -> None:
    save_targets(path, np.zeros((50, 3)), ["a"] * 50)
    path.write_bytes(path.read_bytes()[:700])


def save_uneven(path: Path) -> None:
    save_targets(path, np.zeros((5, 3)), ["a"] * 4)


@pytest.mark.parametrize(
    ("save", "words"),
    [
        (save_objects, "not a file of a teacher's targets"),
        (save_one_array, "not a file of a teacher's targets"),
        (save_other_names, "not a file of a teacher's targets"),
        (save_cut, "not a file of a teacher's targets"),
        (Path.touch, "not a file of a teacher's targets"),
        (lambda path: path.write_text("X, IDS"), "not a file of a teacher's targets"),
        (lambda path: None, "not a file of a teacher's targets.*No such file"),
        (save_uneven, r"X \(5, 3\) does not match IDS \(4,\)"),
    ],
)
def test_a_file_without_targets_is_refused(tmp_path: Path, save, words: str) -> None:
    save(tmp_path / "t.npz")
    with pytest.raises(DatasetError, match=f"t.npz: {words}") as caught:
        load_targets([tmp_path / "t.npz"])
    assert "\n" not in str(caught.value)


def test_targets_are_standardised_over_the_training_tracks() -> None:
    values = np.random.default_rng(0).normal(3, 2, (4, 10, 5)).astype(np.float32)
    values[..., 4] = 7  # a target that never varies
    scaled = standardised_targets(dict(zip("abcd", values, strict=True)), ["a", "c", "unknown"])
    assert list(scaled) == ["a", "c"]
    stacked = np.concatenate(list(scaled.values()))
    np.testing.assert_allclose(stacked.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(stacked.std(axis=0), [1, 1, 1, 1, 0], atol=1e-5)


def test_other_tracks_do_not_change_the_targets() -> None:
    values = np.random.default_rng(0).normal(size=(4, 10, 5)).astype(np.float32)
    known = dict(zip("abcd", values, strict=True))
    first = standardised_targets(known, ["a", "b"])
    second = standardised_targets({**known, "c": 100 * values[2], "d": values[3] - 50}, ["a", "b"])
    assert first.keys() == second.keys() == {"a", "b"}
    for track in first:
        np.testing.assert_array_equal(first[track], second[track])


def test_targets_of_other_tracks_are_refused() -> None:
    with pytest.raises(DatasetError, match="has targets for none of the training tracks"):
        standardised_targets({"a": np.zeros((2, 3), np.float32)}, ["b"])


@pytest.mark.shared
def test_the_published_taggrams_are_read(shared: Path) -> None:
    targets = load_targets(sorted((shared / "data/gtzan-features").glob("*taggram.npz")))
    assert len(targets) == 443 + 290
    assert sum(map(len, targets.values())) == 12415 + 8127
    assert {values.shape[1] for values in targets.values()} == {50}
    assert all(np.isfinite(values).all() for values in targets.values())


def test_under_the_rule_of_one_each_segment_gets_one_effect_or_none() -> None:
    settings = Augmentation(gain=0.5, noise=0.5, roll=3, one_of=True)
    values = torch.linspace(1, 2, SIZE)[:, None].expand(SIZE, 8).contiguous()
    tracks = [TrainingTrack(values, 0, torch.full((1, 0), torch.nan)) for _ in range(400)]
    segments, _, _ = next(iter(Batches(tracks, GENRES, 8, 400, 0.0, settings, 0, 0)))
    same = (segments == values).flatten(1).all(dim=1)
    noisy = (segments != segments[..., :1]).flatten(1).any(dim=1)
    ratio = segments[..., 0] / values[:, 0]
    louder = ~same & ~noisy & (ratio - ratio[:, :1]).abs().le(1e-5).all(dim=1)
    rolled = ~same & ~noisy & ~louder
    # A roll by 0 (1 of 7) looks as if nothing were done.
    for kind, share in (
        (same, 0.25 * 8 / 7),
        (noisy, 0.25),
        (louder, 0.25),
        (rolled, 0.25 * 6 / 7),
    ):
        assert float(kind.float().mean()) == pytest.approx(share, abs=0.07)


def test_segments_are_cut_from_a_track_and_its_copies_alike() -> None:
    plain = TrainingTrack(torch.zeros(SIZE, 20), 0, torch.full((1, 0), torch.nan))
    track = replace(plain, copies=tuple(torch.full((SIZE, 20), float(i)) for i in (1, 2, 3)))
    drawn = torch.stack([crop(track, 8, PLAIN, random(i))[0].mean() for i in range(400)])
    for version in range(4):
        assert float((drawn == version).float().mean()) == pytest.approx(0.25, abs=0.07)
