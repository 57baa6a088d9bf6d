"""Sends a running service files that are none, or lie about themselves, and reports what it does.

    genrescope serve & python tools/hostile_uploads.py http://127.0.0.1:8000 --count 240

Each upload has to be answered within the limit, by a result or a problem document, without a path
of the server's disk; and the service has to classify a good file after it. Exit code 1: it did not.
"""

from __future__ import annotations

import argparse
import collections
import io
import random
import struct
import sys
import time
import zipfile
from collections.abc import Iterator

import numpy as np
import requests
import soundfile

from genrescope.examples import render

LIMIT_SECONDS = 150.0
_SECRETS = ("/home/", "/tmp/", "/usr/", "/var/", "site-packages", "Traceback", ".py")  # noqa: S108


def hostile(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Kinds of hostile files with their contents; the same ones for a seed."""
    yield from crafted()
    draw = random.Random(seed)  # noqa: S311
    whole = {name: _song(name) for name in ("WAV", "FLAC", "OGG", "MP3", "AIFF")}
    for number in range(count - sum(1 for _ in crafted())):
        name = draw.choice([*whole])
        yield f"mutated {name} {number}", _mutated(whole[name], draw)


def crafted() -> Iterator[tuple[str, bytes]]:
    """Files that were made by hand."""
    yield "empty", b""
    yield "one byte", b"\xff"
    yield "text", b"this is no music\n" * 100
    yield "zip named mp3", _zip(b"0" * 1000)
    yield "zip bomb named mp3", _zip(b"0" * 50_000_000)
    yield "ten hours in 10 KB", _wav(8000, 1, 8000 * 36_000, 10_000)
    yield "ten hours of silence as FLAC", _silence(3600 * 10)
    yield "sample rate of 4 GHz", _wav(4_000_000_000, 1, 10**6, 10**5)
    yield "sample rate 0", _wav(0, 1, 10**6, 10**5)
    yield "sample rate 1", _wav(1, 1, 10**5, 10**5)
    yield "255 channels", _wav(44_100, 255, 255 * 10**4, 255 * 2 * 10**4)
    yield "65535 channels", _wav(44_100, 65_535, 10**6, 10**5)
    yield "no channel", _wav(44_100, 0, 10**6, 10**5)
    yield "ffconcat script", b"ffconcat version 1.0\nfile /etc/passwd\nfile http://127.0.0.1:9/\n"
    yield "m3u8 playlist", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n"
    yield "pls playlist", b"[playlist]\nFile1=/etc/passwd\nNumberOfEntries=1\n"
    yield "SDP", b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n"
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "pickle", b"cos\nsystem\n(S'touch /tmp/harmed'\ntR."
    yield "ELF", b"\x7fELF" + bytes(4000)
    yield "MP4 with a huge box", struct.pack(">I4sQ", 1, b"mdat", 2**62) + bytes(1000)
    ftyp = struct.pack(">I4s4sI4s", 20, b"ftyp", b"M4A ", 0, b"isom")
    yield (
        "MP4 nested boxes",
        ftyp + b"".join(struct.pack(">I4s", 8 * (900 - n), b"moov") for n in range(900)),
    )
    yield "ID3 with a huge size", b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + bytes(5000)
    yield "OGG without an end", b"OggS\x00\x02" + b"\xff" * 5000
    yield "FLAC of a huge block", b"fLaC\x84\xff\xff\xff" + bytes(5000)
    yield "Matroska", b"\x1a\x45\xdf\xa3" + b"\xff" * 5000
    yield "NaN samples", _floats(np.nan)
    yield "infinite samples", _floats(np.inf)


def _zip(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("song.mp3", content)
    return file.getvalue()


def _wav(rate: int, channels: int, promised: int, length: int) -> bytes:
    form = struct.pack("<HHIIHH", 1, channels, rate % 2**32, (2 * rate) % 2**32, 2, 16)
    size = (2 * promised) % 2**32
    head = b"RIFF" + struct.pack("<I", (36 + size) % 2**32) + b"WAVEfmt " + struct.pack("<I", 16)
    noise = random.Random(1).randbytes(length)  # noqa: S311
    return head + form + b"data" + struct.pack("<I", size) + noise


def _silence(seconds: int) -> bytes:
    file = io.BytesIO()
    rate = 8000
    with soundfile.SoundFile(file, "w", rate, 1, "PCM_16", format="FLAC") as flac:
        for _ in range(seconds // 600):
            flac.write(np.zeros(rate * 600, np.int16))
    return file.getvalue()


def _floats(value: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full(44_100, value, np.float32), 44_100, "FLOAT", format="WAV")
    return file.getvalue()


def _song(form: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, render("walking-bass", seconds=3.0), 22_050, format=form)
    return file.getvalue()


def _mutated(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    way = draw.randrange(5)
    head = min(len(changed), 200)
    if way == 0:  # bits of the head
        for _ in range(draw.randint(1, 12)):
            changed[draw.randrange(head)] ^= 1 << draw.randrange(8)
    elif way == 1:  # bytes anywhere
        for _ in range(draw.randint(1, 400)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    elif way == 2:
        del changed[draw.randrange(len(changed)) :]
    elif way == 3:  # a piece repeated
        start = draw.randrange(len(changed))
        changed[start:start] = changed[start : start + draw.randint(1, 5000)] * draw.randint(1, 20)
    else:  # the largest numbers in the head
        start = draw.randrange(4, head - 4)
        changed[start : start + 4] = draw.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"])
    return bytes(changed)


def faults_of(address: str, content: bytes, headers: dict[str, str]) -> tuple[int, str]:
    """The status of an answer, and what is wrong with it; empty where nothing is."""
    started = time.monotonic()
    try:
        answer = requests.post(
            f"{address}/v1/classify",
            files={"file": ("../../song.mp3", content)},
            data={"timeline": "true", "picture": "true"},
            headers=headers,
            timeout=LIMIT_SECONDS,
        )
    except requests.RequestException as error:
        return 0, f"no answer: {type(error).__name__}"
    if time.monotonic() - started > LIMIT_SECONDS:
        return answer.status_code, "too slow"
    if answer.status_code not in (200, 413, 422, 503):
        return answer.status_code, f"status {answer.status_code}: {answer.text[:200]}"
    leak = next((secret for secret in _SECRETS if secret in answer.text), None)
    return answer.status_code, f"names {leak}" if leak else ""


def main() -> int:
    """Send, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--key")
    options = parser.parse_args()
    headers = {"X-API-Key": options.key} if options.key else {}
    good, statuses = _song("FLAC"), collections.Counter[int]()
    slowest, wrong = (0.0, ""), 0
    for name, content in hostile(options.count, options.seed):
        started = time.monotonic()
        status, fault = faults_of(options.address, content, headers)
        slowest = max(slowest, (time.monotonic() - started, name))
        statuses[status] += 1
        for _ in range(3):
            after, _ = faults_of(options.address, good, headers)
            if after == 200:
                break
            time.sleep(1)
        if after != 200:
            fault = fault or f"a good file gets {after} after it"
        if fault:
            wrong += 1
            print(f"{name}: {fault}")
    counts = ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))
    print(f"{sum(statuses.values())} hostile uploads: {counts}; {wrong} faults")
    print(f"slowest: {slowest[0]:.1f} s, {slowest[1]}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
