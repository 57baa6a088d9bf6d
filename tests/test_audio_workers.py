"""Decoding in processes of their own: the same samples, and no fault that spreads."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genrescope.audio import AudioError, info, load, process, safely, stream, workers
from genrescope.errors import UnreadableError


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seventy seconds of stereo noise, more than two blocks."""
    path = tmp_path_factory.mktemp("music") / "a b\nc.flac"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (70 * 16000, 2))
    soundfile.write(path, noise, 16000)
    return path


def wait_until(is_true: Callable[[], object]) -> None:
    end = time.monotonic() + 600
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.01)


def worker_ids() -> list[int]:
    """Processes that wait for the next file."""
    pool = workers.current_pool()
    assert pool is not None
    return [worker.process.pid for worker in pool._idle]


def test_the_samples_errors_and_warnings_are_those_of_this_process(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tmp_path / "cut.flac"
    cut.write_bytes(music.read_bytes()[:900_000])
    (tmp_path / "no.mp3").write_bytes(b"no music " * 99)
    here: list[str] = []
    there: list[str] = []
    whole, part = load(music), load(cut, warnings=here)
    header = info(music)
    with safely():
        assert info(music) == header
        assert np.array_equal(load(music).samples, whole.samples)
        assert load(music, sample_rate=None).sample_rate == 16000
        assert np.array_equal(load(music.read_bytes()).samples, whole.samples)
        assert np.array_equal(load(io.BytesIO(music.read_bytes())).samples, whole.samples)
        blocks = list(stream(music, block_seconds=11.0))
        assert {len(block) for block in blocks[:-1]} == {11 * 22050}
        blocks[0][:] = 0  # they are the caller's
        assert np.array_equal(np.concatenate(blocks[1:]), whole.samples[11 * 22050 :])
        assert np.array_equal(load(cut, warnings=there).samples, part.samples)
        assert there == here
        assert len(there) == 1
        for name, reason in (
            (tmp_path / "no.mp3", "not audio, or of a kind that is not known"),
            (tmp_path / "none.mp3", "no such file"),
            ("", "no such file"),
            ("a\ud800\0", "no such file: no file can have this name"),
            (b"", "empty (0 bytes)"),
        ):
            with pytest.raises(AudioError) as caught:
                load(name)
            assert caught.value.reason == reason
        (first,) = worker_ids()  # one after another they were decoded by one process
        monkeypatch.chdir(tmp_path)
        assert np.array_equal(load("cut.flac").samples, part.samples)
        assert worker_ids() == [first]
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_a_crash_costs_the_file_alone(music: Path) -> None:
    with safely():
        load(music, duration=1.0)
        (first,) = worker_ids()
        blocks = stream(music)
        next(blocks)
        os.kill(first, signal.SIGSEGV)
        with pytest.raises(AudioError, match=r"the decoder crashed \(exit code -11\)"):
            list(blocks)
        assert load(music, duration=1.0).duration == 1.0
        assert worker_ids() != [first]
        # One that ended while it waited is noticed, too.
        os.kill(worker_ids()[0], signal.SIGKILL)
        os.waitid(os.P_PID, worker_ids()[0], os.WEXITED | os.WNOWAIT)
        assert load(music, duration=1.0).duration == 1.0


def test_a_decoder_that_ends_before_it_begins_costs_no_file(music: Path) -> None:
    with safely() as pool:
        load(music, duration=1.0)
        (first,) = worker_ids()
        os.kill(first, signal.SIGSTOP)  # it is alive when it is asked, and ends without beginning

        def end() -> None:
            wait_until(lambda: pool._watch._waiting)  # it was asked
            os.kill(first, signal.SIGKILL)

        ending = threading.Thread(target=end)
        ending.start()
        assert load(music, duration=1.0).duration == 1.0
        assert pool.lost == 1
        assert worker_ids() != [first]
        ending.join()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked early on Linux alone")
def test_a_process_that_was_forked_early_decodes_the_file_that_it_was_asked_for(
    music: Path,
) -> None:
    """In a process without threads, as a command is when it has just begun."""
    code = f"""
import hashlib, threading, time
from genrescope.audio import process, workers
process.start_early()
assert process.is_early()
workers.read_early({str(music)!r}, 22050)
from genrescope import audio
with workers.safely_for(1) as pool:
    samples = audio.load({str(music)!r}).samples
    assert not process.is_early() and not pool.lost
    (idle,) = pool._idle
    first = idle.process.pid
    part = audio.load({str(music)!r}, offset=40.0).samples
    assert idle.process.wait(60) == 0, "it ends after the one file"
    (idle,) = pool._idle
    assert idle.process.pid != first
    idle.process.kill()
    assert idle.process.wait() == -9
    assert audio.info({str(music)!r}).sample_rate == 16000
while threading.active_count() > 1:  # the one that watches over the pool
    time.sleep(0.01)
process.start_early()
workers.read_early("another.flac", 22050)
with workers.safely_for(1) as pool:
    audio.info({str(music)!r})
    assert not process.is_early() and not pool.lost
print(hashlib.sha256(samples.tobytes() + part.tobytes()).hexdigest())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    both = load(music).samples.tobytes() + load(music, offset=40.0).samples.tobytes()
    assert done.stdout.strip() == hashlib.sha256(both).hexdigest()


def test_a_decoder_that_hangs_is_stopped(music: Path) -> None:
    with safely():
        load(music, duration=1.0)
        (first,) = worker_ids()
        os.kill(first, signal.SIGSTOP)
        pool = workers.current_pool()
        pool.seconds = 0.5
        with pytest.raises(UnreadableError, match=r"the decoder was stopped: no result in 0\.5 s"):
            load(music)
        pool.seconds = 120.0
        assert load(music, duration=1.0).duration == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("waits_before", [True, False])
def test_a_decoder_that_hangs_is_stopped_also_after_the_block(
    music: Path, waits_before: bool
) -> None:
    """A thread that still reads would wait for it for ever, and Python for the thread."""
    with safely() as pool:
        load(music, duration=1.0)
        (first,) = worker_ids()
        blocks = stream(music)
        next(blocks)
        os.kill(first, signal.SIGSTOP)
        with ThreadPoolExecutor() as threads:
            if waits_before:
                result = threads.submit(list, blocks)
                wait_until(lambda: pool._watch._waiting)
            pool.close()
            if not waits_before:
                wait_until(lambda: pool._watch._thread is None)
                result = threads.submit(list, blocks)
                wait_until(lambda: pool._watch._waiting)
            with pool._watch._changed:
                for worker in pool._watch._waiting:
                    worker.deadline = 0.0
            try:
                with pytest.raises(UnreadableError, match="the decoder was stopped"):
                    result.result(timeout=600)
            finally:
                with suppress(ProcessLookupError):
                    os.kill(first, signal.SIGKILL)
    wait_until(lambda: pool._watch._thread is None)


def test_content_that_the_disk_does_not_take_is_one_line(music: Path) -> None:
    """Not a file that is cut short, which would be decoded as damaged."""
    resource = pytest.importorskip("resource")
    content = music.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(content) // 2, limits[1]))
    try:
        for source in (content, io.BytesIO(content)):
            with pytest.raises(UnreadableError, match="not readable: "):
                load(source)
        file = music.open("rb")
        with file, safely(), pytest.raises(UnreadableError, match="not readable: "):
            load(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system tells no core time")
def test_a_decoder_that_computes_for_ever_is_the_fault_of_the_file(
    music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan remembers such a file, and not one whose disk is slow."""
    program = (
        "import sys; input(); sys.stdout.write('S' + 4 * chr(0)); sys.stdout.flush()\nwhile True: 0"
    )
    monkeypatch.setattr(process, "_PROGRAM", program)
    with safely() as pool, ThreadPoolExecutor() as threads:
        result = threads.submit(load, music)
        while not (waiting := [*pool._watch._waiting]):
            time.sleep(0.01)
        while waiting[0].core_seconds() < 0.6:  # however busy the machine is
            time.sleep(0.01)
        pool.seconds = 0.5
        waiting[0].deadline = 0.0
        with pytest.raises(AudioError, match=r"no result in 0.5 s") as caught:
            result.result()
    assert not isinstance(caught.value, UnreadableError)


def test_memory_and_length_are_limited(music: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "picture.mp3"
    size = 250_000_000  # a picture of nothing, that FFmpeg would read into memory
    with bomb.open("wb") as file:
        body = b"\0image/png\0\3\0"
        file.write(b"ID3\3\0\0" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0)))
        file.write(b"APIC" + (size - 10).to_bytes(4, "big") + b"\0\0" + body)
        file.seek(size + 10)
        file.write(bytes(100))
    with safely(memory=600_000_000):
        with pytest.raises(AudioError):
            load(bomb)
        assert load(music, duration=1.0).duration == 1.0
    with safely(longest=40.0):
        with pytest.raises(AudioError, match="longer than 40 s"):
            load(music)
        assert load(music, duration=30.0).duration == 30.0


def test_a_reader_that_stops_leaves_no_process_behind(music: Path) -> None:
    with safely():
        blocks = stream(music)
        next(blocks)
        blocks = None  # type: ignore[assignment]
        assert worker_ids() == []
        assert len(list(stream(music))) == 3


def test_no_module_of_the_current_folder_is_imported(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("soxr", "av", "json"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))  # as `python -m genrescope` does
    with safely():
        assert info(music).duration == 70.0
    assert not (tmp_path / "ran").exists()
