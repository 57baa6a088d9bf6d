"""Ogg files that are chains of streams, or that repeat their headers among the audio."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from genrescope import audio
from genrescope.audio import ogg
from genrescope.library.content import audio_digest
from genrescope.library.tags import read_genre, write_genre


def encoded(path: Path, seconds: float, rate: int, kind: str, hertz: float = 330.0) -> bytes:
    """A tone as a complete Ogg file."""
    t = np.arange(round(seconds * rate)) / rate
    tone = (0.5 * np.sin(2 * np.pi * hertz * t)).astype(np.float32)
    soundfile.write(path, tone, rate, format="OGG", subtype=kind)
    data = path.read_bytes()
    path.unlink()
    return data


def pages(data: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Header, table of segments and body of each page."""
    found, place = [], 0
    while place < len(data):
        head = data[place : place + 27]
        table = data[place + 27 : place + 27 + head[26]]
        body = place + 27 + len(table)
        place = body + sum(table)
        found.append((head, table, data[body:place]))
    return found


def page(head: bytes, table: bytes, body: bytes) -> bytes:
    """A page with the checksum that belongs to it."""
    head = head[:22] + bytes(4) + bytes([len(table)])
    sum_of = ogg._checksum(head + table + body)
    return head[:22] + struct.pack("<I", sum_of) + head[26:] + table + body


def with_repeated_headers(data: bytes) -> bytes:
    """The three headers of a Vorbis file once more, before its first audio packet."""
    whole = pages(data)
    first = next(n for n, (head, _, _) in enumerate(whole) if head[6:14] != bytes(8))
    table, body = b"", b""
    for _, segments, content in whole[:first]:
        table, body = table + segments, body + content
    head, segments, content = whole[first]
    again = page(head[:6] + struct.pack("<q", -104) + head[14:], table, body)
    return (
        b"".join(page(*each) for each in whole[:first])
        + again
        + b"".join(page(*each) for each in whole[first:])
    )


@pytest.mark.parametrize(
    "parts",
    [
        [(44100, "VORBIS"), (44100, "VORBIS")],
        [(44100, "VORBIS"), (22050, "VORBIS"), (44100, "VORBIS")],
        [(48000, "VORBIS"), (48000, "OPUS"), (32000, "VORBIS")],
        [(48000, "OPUS"), (48000, "OPUS")],
    ],
)
def test_all_links_of_a_chain_are_decoded(tmp_path: Path, parts: list[tuple[int, str]]) -> None:
    path = tmp_path / "radio.ogg"
    path.write_bytes(
        b"".join(
            encoded(tmp_path / "part.ogg", 2.0, rate, kind, 330.0 * (number + 1))
            for number, (rate, kind) in enumerate(parts)
        )
    )
    warnings: list[str] = []
    waveform = audio.load(path, warnings=warnings)
    assert warnings == []
    assert waveform.duration == pytest.approx(2.0 * len(parts), abs=0.01)
    assert audio.info(path).duration == pytest.approx(2.0 * len(parts), abs=0.02)
    for number in range(len(parts)):
        middle = waveform.samples[round((2 * number + 0.5) * 22050) :][:22050]
        loudest = np.abs(np.fft.rfft(middle)).argmax()  # 1 s: the index is the frequency
        assert loudest == pytest.approx(330.0 * (number + 1), abs=1)
    part = audio.load(path, offset=2.5, duration=1.0)
    assert np.abs(np.fft.rfft(part.samples)).argmax() == pytest.approx(660, abs=1)


def test_a_damaged_link_does_not_cost_the_others(tmp_path: Path) -> None:
    one = encoded(tmp_path / "part.ogg", 2.0, 44100, "VORBIS")
    bad = bytearray(encoded(tmp_path / "part.ogg", 2.0, 22050, "VORBIS"))
    bad[30:40] = b"x" * 10
    path = tmp_path / "radio.ogg"
    path.write_bytes(one + bytes(bad) + one)
    warnings: list[str] = []
    assert audio.load(path, warnings=warnings).duration == pytest.approx(4.0, abs=0.01)
    assert warnings == ["damaged: some pieces could not be decoded and were left out"]


def test_headers_among_the_audio(tmp_path: Path) -> None:
    right, path = tmp_path / "right.ogg", tmp_path / "repeated.ogg"
    right.write_bytes(encoded(tmp_path / "part.ogg", 3.0, 44100, "VORBIS"))
    path.write_bytes(with_repeated_headers(right.read_bytes()))
    assert np.array_equal(audio.load(path).samples, audio.load(right).samples)
    assert audio_digest(path) == audio_digest(right)
    assert write_genre(path, "Jazz").action == "write"
    assert read_genre(path) == "Jazz"
    assert audio_digest(path) == audio_digest(right)


@pytest.mark.slow
def test_headers_among_the_audio_in_a_process_that_writes_no_files(tmp_path: Path) -> None:
    path = tmp_path / "repeated.ogg"
    path.write_bytes(with_repeated_headers(encoded(tmp_path / "part.ogg", 3.0, 44100, "VORBIS")))
    here = audio.load(path)
    with audio.safely():
        assert np.array_equal(audio.load(path).samples, here.samples)


def test_headers_among_the_audio_of_a_chain(tmp_path: Path) -> None:
    """Of the first link; the others are not in its copy, too."""
    right, path = tmp_path / "right.ogg", tmp_path / "repeated.ogg"
    data = encoded(tmp_path / "part.ogg", 3.0, 44100, "VORBIS")
    right.write_bytes(data + data)
    path.write_bytes(with_repeated_headers(data) + data)
    assert np.array_equal(audio.load(path).samples, audio.load(right).samples)


def test_most_files_are_one_link_without_repeats(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    path.write_bytes(encoded(tmp_path / "part.ogg", 1.0, 44100, "VORBIS"))
    size = path.stat().st_size
    with path.open("rb") as file:
        assert ogg.links(file, size) == [(0, size)]
        assert ogg.without_repeated_headers(file, size) is None


def test_garbage_behind_the_magic_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    for data in (b"OggS", b"OggS" + bytes(100_000), b"OggS\0" * 20_000, bytes(27) + b"OggS\0\2"):
        path.write_bytes(data)
        with path.open("rb") as file:
            assert len(ogg.links(file, len(data))) >= 1
            ogg.without_repeated_headers(file, len(data))


def test_damage_within_a_file_is_said(tmp_path: Path) -> None:
    """Also where its header states no length, so that nothing is found to be missing."""
    path = tmp_path / "a.aac"
    with av.open(str(path), "w", format="adts") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        noise = np.random.default_rng(0).normal(0, 0.1, (200, 1, 1024)).astype(np.float32)
        for number, block in enumerate(noise):
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.rate, frame.pts = 44100, 1024 * number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 3, len(data) // 3 + 4000, 37):
        data[place] ^= 0x5A
    path.write_bytes(data)
    warnings: list[str] = []
    audio.load(path, warnings=warnings)
    assert warnings == ["damaged: some pieces could not be decoded and were left out"]
