"""Tagged music files of every format, made on the fly, each with other tags and a picture."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import av
import mutagen
import numpy as np
import pytest
import soundfile
from mutagen.apev2 import APEBinaryValue
from mutagen.asf import ASFByteArrayAttribute
from mutagen.flac import Picture
from mutagen.id3 import APIC, COMM, ID3, TALB, TIT2, TPE1, TXXX, TYER, UFID
from mutagen.mp4 import MP4Cover
from PIL import Image

from genrescope.errors import TagError
from genrescope.library.tags import write_genre

SOUNDFILE = ["mp3", "flac", "ogg", "opus", "wav", "aiff"]
CODECS = {"m4a": "aac", "wma": "wmav2", "wv": "wavpack", "aac": "aac", "mkv": "aac"}
FORMATS = [*SOUNDFILE, "m4a", "wma", "wv"]
ID3_FORMATS = ["mp3", "wav", "aiff"]
RATE = 48000  # Opus knows no 44.1 kHz


def sound() -> np.ndarray:
    """Return a second of a chord over noise: shape (48000,), float32, within ±1."""
    t = np.arange(RATE) / RATE
    noise = np.random.default_rng(0).normal(0, 0.05, RATE)
    return (np.sin(2 * np.pi * np.outer([220, 277, 330], t)).sum(0) / 6 + noise).astype("float32")


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (48, 48), "teal").save(buffer, "JPEG")
    return buffer.getvalue()


def encode(path: Path) -> None:
    kind = path.suffix[1:]
    if kind in SOUNDFILE:
        opus = {"format": "OGG", "subtype": "OPUS"} if kind == "opus" else {}
        soundfile.write(path, sound(), RATE, **opus)
        return
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[kind], rate=RATE, layout="mono")
        stream.bit_rate = 64_000  # wmav2 refuses to guess one
        stream.codec_context.open()
        whole = av.AudioFrame.from_ndarray(sound()[None], format="fltp", layout="mono")
        whole.rate, whole.pts = RATE, 0
        resampler = av.AudioResampler(
            stream.format, "mono", RATE, frame_size=stream.frame_size or 1024
        )
        for frame in [*resampler.resample(whole), *resampler.resample(None), None]:
            for packet in stream.encode(frame):
                container.mux(packet)


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.audio[0]
        return np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(stream)])


def add_id3(audio: Any, version: int) -> None:
    if audio.tags is None:
        audio.add_tags()
    for frame in [
        TIT2(encoding=1, text=["Zażółć gęślą"]),
        TPE1(encoding=1, text=["One", "Two"]),  # several values in one frame
        TALB(encoding=0, text=["Album"]),
        TYER(encoding=0, text=["1999"]),  # a frame that 2.4 has not
        COMM(encoding=0, lang="eng", desc="", text=["a remark"]),
        COMM(encoding=0, lang="deu", desc="zwei", text=["noch einer"]),
        TXXX(encoding=0, desc="REPLAYGAIN", text=["-6.5 dB"]),
        UFID(owner="http://musicbrainz.org", data=b"\x00\x01\xff"),
        APIC(encoding=0, mime="image/jpeg", type=3, desc="front", data=jpeg()),
    ]:
        audio.tags.add(frame)
    audio.save(v2_version=version, v23_sep=None)


def add_tags(path: Path) -> None:
    """Give a file everything but a genre."""
    audio = mutagen.File(path)
    kind = path.suffix[1:]
    if kind in ID3_FORMATS:
        add_id3(audio, 3)
        return
    if audio.tags is None:
        audio.add_tags()
    tags = audio.tags
    picture = Picture()
    picture.data, picture.mime, picture.type = jpeg(), "image/jpeg", 3
    if kind == "m4a":
        tags["\xa9nam"], tags["\xa9cmt"], tags["trkn"] = ["Title"], ["a remark"], [(3, 9)]
        tags["----:com.apple.iTunes:MOOD"] = [b"calm"]
        tags["covr"] = [MP4Cover(jpeg(), MP4Cover.FORMAT_JPEG)]
    elif kind == "wma":
        tags["Title"], tags["WM/Year"], tags["Author"] = ["Title"], ["1999"], ["One", "Two"]
        tags["WM/Picture"] = [ASFByteArrayAttribute(b"\x03" + jpeg())]
    elif kind == "wv":
        tags["Title"], tags["Artist"], tags["Comment"] = "Title", ["One", "Two"], "a remark"
        tags["Cover Art (Front)"] = APEBinaryValue(b"front.jpg\x00" + jpeg())
    else:
        tags["TITLE"], tags["Artist"], tags["COMMENT"] = ["Zażółć"], ["One", "Two"], ["a remark"]
        if kind == "flac":
            audio.add_picture(picture)
        else:
            tags["METADATA_BLOCK_PICTURE"] = ["cGljdHVyZQ=="]
    audio.save()


def others(path: Path) -> dict[str, str]:
    """Return every tag but the genre, in full, read without mutagen's translations."""
    audio = mutagen.File(path)
    if isinstance(audio.tags, ID3):
        audio = type(audio)(path, translate=False, load_v1=False)
    found = {key: repr(value) for key, value in audio.tags.items()}
    genre = {"TCON", "genre", "\xa9gen", "WM/Genre", "Genre"}
    found = {key: value for key, value in found.items() if key not in genre}
    found["pictures"] = repr([picture.write() for picture in getattr(audio, "pictures", [])])
    return found


@cache
def _original(kind: str) -> bytes:
    """A file of a format, with other tags where it knows some, and without a genre."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"track.{kind}")
        if kind == "au":
            soundfile.write(path, sound(), RATE)
        else:
            encode(path)
        if kind in FORMATS:
            add_tags(path)
        return path.read_bytes()


def copy_of(kind: str, folder: Path) -> Path:
    path = folder / f"track.{kind}"
    path.write_bytes(_original(kind))
    return path


def id3v1(genre: int) -> bytes:
    tag = b"TAG" + b"Title in v1".ljust(30, b"\0") + b"Artist in v1".ljust(30, b" ")
    return (
        tag
        + b"\0" * 30
        + b"1987"
        + b"only v1 says this".ljust(28, b"\0")
        + b"\0\5"
        + bytes([genre])
    )


def refused(path: Path, reason: str, genre: str = "jazz") -> None:
    """Check that a write fails in one plain line and leaves folder and file as they were."""
    before = path.read_bytes() if path.is_file() else None
    names = sorted(entry.name for entry in path.parent.iterdir())
    with pytest.raises(TagError) as caught:
        write_genre(path, genre, overwrite=True)
    assert reason in caught.value.reason
    assert "\n" not in caught.value.reason
    assert caught.value.path == str(path)
    assert sorted(entry.name for entry in path.parent.iterdir()) == names
    assert before is None or path.read_bytes() == before


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Lay down root's rights, to which no folder is read-only."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(65534)
    except OSError:
        pytest.skip("root has no other user here")
    try:
        yield
    finally:
        os.seteuid(0)
