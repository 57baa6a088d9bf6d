"""For any bytes in a file, `genrescope.audio` raises `AudioError` or returns sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genrescope.audio import AudioError, info, load, stream
from test_audio import FORMS, sweep, write

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

BEGINNINGS = [
    b"",
    b"RIFF\xff\xff\xff\x7fWAVEfmt \x10\0\0\0\1\0\2\0\x44\xac\0\0\x10\xb1\2\0\4\0\x10\0data",
    b"FORM\0\0\1\0AIFFCOMM\0\0\0\x12",
    b".snd\0\0\0\x18\xff\xff\xff\xff\0\0\0\3\0\0\xac\x44\0\0\0\2",
    b"caff\0\1\0\0desc",
    b"fLaC\0\0\0\x22",
    b"OggS\0\2",
    b"ID3\4\0\0\0\0\0\0",
    b"\xff\xfb\x90\x64",
    b"\xff\xf1\x50\x80",
    b"\0\0\0\x20ftypM4A \0\0\0\0",
    b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c",
    b"wvpk\x20\0\0\0",
    b"TTA1\1\0\2\0\x10\0",
]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("originals")
    made = {}
    for name, form in FORMS.items():
        rate = 48000 if "opus" in form.codec.lower() else 44100
        made[name] = write(folder / name, form, sweep(0.4, rate), rate).read_bytes()
    return made


def check(path: Path) -> None:
    """Decode the file in every way; nothing but `AudioError` may be raised."""
    try:
        header = info(path)
        assert header.duration >= 0
        assert header.channels > 0
    except AudioError as fault:
        assert fault.reason
    for options in ({"sample_rate": None}, {}, {"offset": 0.2, "duration": 0.1}, {"offset": 7.0}):
        warnings: list[str] = []
        try:
            decoded = load(path, warnings=warnings, **options)
        except AudioError as fault:
            assert fault.reason
            with pytest.raises(AudioError):
                list(stream(path, **options))
            continue
        assert len(decoded.samples) > 0
        assert np.isfinite(decoded.samples).all()
        assert all(warnings)


@quick
@given(beginning=st.sampled_from(BEGINNINGS), rest=st.binary(max_size=3000))
def test_random_bytes(tmp_path: Path, beginning: bytes, rest: bytes) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(beginning + rest)
    check(path)


@quick
@given(
    beginning=st.sampled_from(BEGINNINGS), seed=st.integers(0, 2**32), size=st.integers(1, 60000)
)
def test_long_random_bytes(tmp_path: Path, beginning: bytes, seed: int, size: int) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(beginning + np.random.default_rng(seed).bytes(size))
    check(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
@settings(quick, max_examples=8)
@given(data=st.data())
def test_mutations(
    tmp_path: Path, originals: dict[str, bytes], name: str, data: st.DataObject
) -> None:
    mutated = bytearray(originals[name])
    # Half of the changes fall into the first 300 bytes, where the header is.
    places = st.integers(0, len(mutated) - 1) | st.integers(0, min(300, len(mutated)) - 1)
    values = st.integers(0, 255) | st.sampled_from([0, 1, 0x7F, 0x80, 0xFF])
    for place, value in data.draw(st.lists(st.tuples(places, values), min_size=1, max_size=20)):
        mutated[place] = value
    path = tmp_path / "a"
    path.write_bytes(mutated)
    check(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
@settings(quick, max_examples=6)
@given(data=st.data())
def test_truncations_and_holes(
    tmp_path: Path, originals: dict[str, bytes], name: str, data: st.DataObject
) -> None:
    whole = originals[name]
    begin = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.just(len(whole)) | st.integers(begin, len(whole)))
    path = tmp_path / "a"
    path.write_bytes(whole[:begin] + whole[end:])
    check(path)


@quick
@given(
    offset=st.floats(0, 1.2),
    duration=st.none() | st.floats(0.0001, 2.0),
    rate=st.sampled_from([None, 8000, 16000, 22050, 44100, 48000]),
    source_rate=st.sampled_from([8000, 11025, 22050, 44100, 48000, 44056]),
    block_seconds=st.floats(0.001, 2.0),
)
def test_any_part_equals_that_part_of_the_whole(
    tmp_path: Path,
    offset: float,
    duration: float | None,
    rate: int | None,
    source_rate: int,
    block_seconds: float,
) -> None:
    path = tmp_path / f"{source_rate}.wav"
    if not path.exists():
        write(path, FORMS["wav float"], sweep(1.0, source_rate), source_rate)
    whole = load(path, sample_rate=rate)
    first = round(offset * whole.sample_rate)
    last = None
    if duration is not None:
        last = first + max(1, round((offset + duration) * whole.sample_rate) - first)
    expected = whole.samples[first:last]
    if len(expected) == 0:
        with pytest.raises(AudioError, match="no sound at"):
            load(path, sample_rate=rate, offset=offset, duration=duration)
        return
    part = load(path, sample_rate=rate, offset=offset, duration=duration)
    assert len(part.samples) == len(expected)
    np.testing.assert_allclose(part.samples, expected, atol=3e-5)
    blocks = stream(
        path, sample_rate=rate, offset=offset, duration=duration, block_seconds=block_seconds
    )
    assert np.array_equal(np.concatenate(list(blocks)), part.samples)
