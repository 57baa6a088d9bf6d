"""Fingerprints: the same recording is recognised in any form, another one is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from clips import RATE, song
from genrescope import audio
from genrescope.datasets import Track, read_dataset
from genrescope.datasets.fingerprints import (
    BYTES,
    SAME_BITS,
    TrainingTracks,
    fingerprint,
    fingerprints,
    same_recording,
    training_note,
    used_in_training,
)
from genrescope.features.spectrogram import power_spectrogram
from genrescope.inference.bundle import Bundle


def write(path: Path, samples: np.ndarray, rate: int = RATE, **settings: str) -> Path:
    soundfile.write(path, samples, rate, **settings)
    return path


def bits(one: bytes | None, other: bytes | None) -> int:
    assert one is not None and other is not None
    assert len(one) == len(other) == BYTES
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("song") / "a.wav", song(31.0))


@pytest.mark.parametrize("suffix", [".flac", ".mp3", ".ogg"])
@pytest.mark.parametrize("gain", [1.0, 0.05])
def test_copies_in_other_formats_and_levels(
    original: Path, tmp_path: Path, suffix: str, gain: float
) -> None:
    samples, _ = soundfile.read(original)
    copy = write(tmp_path / f"copy{suffix}", gain * samples)
    assert bits(fingerprint(original), fingerprint(copy)) <= SAME_BITS


def test_stereo_at_another_rate(original: Path, tmp_path: Path) -> None:
    waveform = audio.load(original, sample_rate=44100)
    stereo = np.stack([waveform.samples, 0.5 * waveform.samples], axis=1)
    copy = write(tmp_path / "a.wav", stereo, 44100)
    assert bits(fingerprint(original), fingerprint(copy)) <= 4


def test_a_stored_spectrogram_has_the_fingerprint_of_its_audio(
    original: Path, tmp_path: Path
) -> None:
    waveform = audio.load(original, duration=30)
    power = power_spectrogram(waveform, hop_length=1920, center=False, n_bins=544).power
    level = 10 * np.log10(power + 1e-12)
    pixels = np.round((level - level.min()) / np.ptp(level) * 255).astype(np.uint8)
    Image.fromarray(pixels[::-1]).save(tmp_path / "a.png")
    assert bits(fingerprint(original), fingerprint(tmp_path / "a.png")) <= 8


@pytest.mark.slow
def test_other_music_is_far_away(tmp_path: Path) -> None:
    found = [fingerprint(write(tmp_path / f"{n}.wav", song(31.0, seed=n))) for n in range(12)]
    distances = [bits(a, b) for i, a in enumerate(found) for b in found[:i]]
    assert min(distances) > SAME_BITS + 10


@pytest.mark.parametrize("seconds", [2.0, 12.0, 29.0])
def test_short_tracks_have_one_too(tmp_path: Path, seconds: float) -> None:
    one = write(tmp_path / "a.wav", song(seconds))
    samples, _ = soundfile.read(one)
    copy = write(tmp_path / "b.flac", samples)
    other = write(tmp_path / "c.wav", song(seconds, seed=1))
    assert bits(fingerprint(one), fingerprint(copy)) == 0
    assert bits(fingerprint(one), fingerprint(other)) > SAME_BITS


def test_what_has_no_content_has_no_fingerprint(tmp_path: Path) -> None:
    time = np.arange(30 * RATE) / RATE
    sounds = {
        "silence": np.zeros(len(time)),
        "tone": 0.5 * np.sin(2 * np.pi * 440 * time),
        "click": np.zeros(1000) + 0.1,
    }
    files = [write(tmp_path / f"{name}.wav", samples) for name, samples in sounds.items()]
    (tmp_path / "bad.wav").write_bytes(b"no music")
    files += [tmp_path / "bad.wav", tmp_path / "gone.mp3", tmp_path / "table.npz"]
    seen: list[int] = []
    assert fingerprints(files, jobs=2, report=seen.append) == [None] * 6
    assert seen == [1, 2, 3, 4, 5, 6]


def test_training_tracks_are_stored_and_found_again(original: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.wav", song(31.0, seed=5))
    tracks = [Track("a", original, "rock"), Track("v\n1", tmp_path / "table.npz", "jazz")]
    fields = TrainingTracks.of("Mine", tracks).to_fields()
    assert set(map(type, fields.values())) == {str}
    known = TrainingTracks.from_fields(fields)
    assert known is not None
    assert (known.data, known.ids) == ("Mine", ("a", "v 1"))

    def contained(*tracks: Track, data: str = "Mine") -> list[bool | None]:
        return known.contain(tracks, fingerprints(t.path for t in tracks), data=data)

    # By sound under any name, and not by a name where the sound differs.
    assert contained(Track("x", original, "pop"), Track("a", other, "rock"), data="Other") == [1, 0]
    assert contained(Track("a", other, "rock"), Track("v 1", other, "jazz")) == [False, True]
    # Tracks of tables have no sound: by name, in a data set of the same name; else not known.
    row = Track("a", tmp_path / "table.npz", "rock")
    assert (contained(row), contained(row, data="Other")) == ([True], [None])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"data": "x", "ids": "a", "fingerprints": "?"},
        {"data": "x", "ids": "a\nb", "fingerprints": "AAAA"},
    ],
)
def test_damaged_lists_are_no_lists(fields: dict[str, str]) -> None:
    assert TrainingTracks.from_fields(fields) is None
    assert TrainingTracks.from_fields(None) is None


def test_an_empty_list_knows_nothing() -> None:
    assert same_recording([bytes(16), None], np.zeros((0, 16), np.uint8)) == [False, False]


@pytest.mark.slow
@pytest.mark.shared
def test_the_real_tracks_agree_with_their_spectrograms(shared: Path) -> None:
    clips = read_dataset(shared / "data/gtzan-audio").tracks
    folder = shared / "data/gtzan-spectrograms"
    of_audio = fingerprints(track.path for track in clips)
    stored = fingerprints(folder / t.genre / f"{t.id}.png" for t in clips)
    assert max(map(bits, of_audio, stored)) <= 12
    known = np.frombuffer(b"".join(stored), np.uint8).reshape(-1, BYTES)
    assert all(same_recording(of_audio, known))
    others = fingerprints(t.path for t in read_dataset(shared / "data/emotify-audio").tracks)
    assert not any(same_recording(others, known))


def test_the_shipped_model_lists_its_training_tracks() -> None:
    manifest = Bundle.load("default").manifest
    known = TrainingTracks.from_fields(manifest.training_tracks)
    assert known is not None
    assert known.data == manifest.provenance["data"]["name"]
    assert len(known.ids) == manifest.provenance["data"]["tracks"]
    assert known.fingerprints.any(axis=1).all()


@pytest.mark.slow
@pytest.mark.shared
def test_the_shipped_model_recognises_the_tracks_as_audio(shared: Path) -> None:
    fields = Bundle.load("default").manifest.training_tracks
    for name, used in (("gtzan-audio", 51), ("emotify-audio", 0)):
        tracks = read_dataset(shared / "data" / name).tracks
        assert sum(used_in_training(fields, tracks) or ()) == used
    assert training_note(used_in_training(fields, tracks)) is None
    assert used_in_training(None, tracks) is None


def test_bundles_keep_the_list_and_old_ones_have_none(tmp_path: Path) -> None:
    bundle = Bundle.load("default")
    bundle.save(tmp_path / "with")
    assert Bundle.load(tmp_path / "with").manifest == bundle.manifest
    manifest = bundle.manifest.model_copy(update={"training_tracks": None})
    replace(bundle, manifest=manifest).save(tmp_path / "without")
    assert "training_tracks" not in (tmp_path / "without/bundle.json").read_text("utf-8")
    assert Bundle.load(tmp_path / "without").manifest.training_tracks is None
