"""Decoding, classifying and reading parts, against FFmpeg and other libraries: docs/benchmarks.md.

    python benchmarks/formats.py CLIP... [--decoding] [--sixty] [--cores] [--long FOLDER]
        [--essentia PYTHON] [--write]

makes from CLIPs one minute of stereo in each format (by `ffmpeg`, which must be installed) and
measures the processor time to decode it to 22 050 Hz mono: by `ffmpeg` as a process, by Genrescope
in this process and in one of its worker processes, by librosa where it is installed, and by
Essentia where a Python that has it is named. Further the command `classify` on 60 files, decoding
on two cores, and with --long what `listen="auto"` makes of a folder of whole tracks. Everything is
processor time, since wall time says little on a machine that does other things, too; the ratios are
taken pair by pair, of runs that take turns.

    python benchmarks/formats.py --check

takes a few seconds: it compares decoding and classifying a synthetic clip with `ffmpeg`, and warns
where one of the two ratios is above its limit. It never fails: other work on a machine may be why.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Thread

from pages import write_between

import genrescope
from genrescope import audio
from genrescope.audio.files import find_audio
from genrescope.heap import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
RUNS = 5
LIMITS = {"decoding": 0.6, "classifying": 1.2}
"""Times the processor time of `ffmpeg`, at most: half as much again as `--check` measures for the
clip that it makes (0.4 and 0.78; the command on 60 files also starts and has worker processes)."""
FORMATS = {
    "mp3": ["-c:a", "libmp3lame", "-b:a", "192k"],
    "m4a": ["-c:a", "aac", "-b:a", "160k"],
    "flac": [],
    "ogg": ["-c:a", "libvorbis", "-q:a", "5"],
    "opus": ["-c:a", "libopus", "-b:a", "128k", "-ar", "48000"],
    "wav": [],
}
TO_MONO = ["-ac", "1", "-ar", "22050", "-f", "f32le", "-"]
ESSENTIA = """
import resource, sys
import essentia
essentia.log.infoActive = essentia.log.warningActive = False
from essentia.standard import MonoLoader
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF)
    MonoLoader(filename=sys.argv[1], sampleRate=22050)()
    after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
print(essentia.__version__)
"""


def processor_time() -> float:
    """Seconds of this process, and of those that it has waited for."""
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def cost(work: Callable[[], object]) -> float:
    """Processor time of a call, in seconds."""
    before = processor_time()
    work()
    return processor_time() - before


def by_ffmpeg(path: Path) -> None:
    """Decode with FFmpeg as a process."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-threads", "1", "-i", str(path), *TO_MONO]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def by_genrescope(path: Path) -> None:
    """Decode with Genrescope."""
    for _ in audio.stream(path, sample_rate=22050):
        pass


def in_worker(path: Path, count: int) -> float:
    """Processor time of a file in a worker process, without the start of the process."""
    times = []
    for files in (1, 1 + count):
        before = processor_time()
        with audio.safely(1):
            for _ in range(files):
                by_genrescope(path)
        times.append(processor_time() - before)
    return (times[1] - times[0]) / count


def make_formats(clips: list[Path], folder: Path) -> dict[str, Path]:
    """One minute of stereo in each format."""
    listed = folder / "clips.txt"
    listed.write_text("".join(f"file '{clip.resolve()}'\n" for clip in clips))
    files = {}
    for name, options in FORMATS.items():
        files[name] = folder / f"minute.{name}"
        command = ["ffmpeg", "-v", "error", "-f", "concat", "-safe", "0", "-i", str(listed)]
        command += ["-t", "60", "-ac", "2", "-ar", "44100", *options, str(files[name])]
        subprocess.run(command, check=True)
    return files


def ratio(ours: list[float], theirs: list[float]) -> str:
    """The median of the ratios of runs that took turns, and their range."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def formats_table(files: dict[str, Path], essentia: str | None) -> list[str]:
    """Decoding of each format."""
    try:
        import librosa
    except ImportError:
        librosa = None  # type: ignore[assignment]
    lines = [
        "| one minute, ms of processor time | `ffmpeg` | Genrescope | ratio to `ffmpeg` "
        "| in a worker process | ratio to this process | librosa | Essentia |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, path in files.items():
        by_genrescope(path)
        ffmpeg, ours, worker, theirs = [], [], [], []
        for _ in range(RUNS):
            ffmpeg.append(cost(lambda path=path: by_ffmpeg(path)))
            ours.append(cost(lambda path=path: by_genrescope(path)))
            worker.append(in_worker(path, 3))
            if librosa is not None and name not in ("m4a",):
                theirs.append(cost(lambda path=path: librosa.load(path, sr=22050)))
        cells = [statistics.median(ffmpeg), statistics.median(ours), statistics.median(worker)]
        texts = [f"{1000 * cell:.0f}" for cell in cells]
        peer = f"{1000 * statistics.median(theirs):.0f}" if theirs else "–"
        lines.append(
            f"| {name} | {texts[0]} | {texts[1]} | {ratio(ours, ffmpeg)} | {texts[2]} "
            f"| {ratio(worker, ours)} | {peer} | {essentia_time(essentia, path)} |"
        )
    return lines


def sixty_table(minute: Path, folder: Path) -> list[str]:
    """The command `classify` on 60 mp3s of one minute, next to `ffmpeg` decoding them."""
    music = folder / "sixty"
    music.mkdir()
    files = [music / f"{number}.mp3" for number in range(60)]
    for file in files:
        shutil.copy(minute, file)
    command = [sys.executable, "-m", "genrescope", "classify", str(music)]

    def classify() -> None:
        subprocess.run(command, check=True, capture_output=True)

    def ffmpeg() -> None:
        for file in files:
            by_ffmpeg(file)

    pairs = [(cost(classify), cost(ffmpeg)) for _ in range(3)]
    ours, theirs = zip(*pairs, strict=True)
    return [
        "| 60 mp3s of one minute | processor time | ratio |",
        "|---|--:|--:|",
        f"| `ffmpeg`, decoding alone | {statistics.median(theirs):.1f} s | 1 |",
        f"| `genrescope classify` | {statistics.median(ours):.1f} s "
        f"| {ratio([*ours], [*theirs])} |",
    ]


def speedup(work: Callable[[], object]) -> float:
    """How much more of some work two threads do in the time of one."""
    walls = []
    for count in (1, 2):
        threads = [Thread(target=work) for _ in range(count)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        walls.append(time.perf_counter() - began)
    return 2 * walls[0] / walls[1]


def cores_table(files: dict[str, Path]) -> list[str]:
    """How much faster two cores decode than one, next to work that holds no lock of Python."""
    content = bytes(2**24)

    def hash_only() -> None:
        for _ in range(12):
            hashlib.sha256(content).digest()

    lines = [
        "| two cores to one | threads | ratio to hashing | worker processes | ratio to hashing |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, path in files.items():

        def decode(path: Path = path) -> None:
            for _ in range(4):
                by_genrescope(path)

        cells = []
        for context in (nullcontext, lambda: audio.safely(2)):
            with context():
                speedup(lambda path=path: by_genrescope(path))  # starts what it needs
                pairs = [(speedup(decode), speedup(hash_only)) for _ in range(RUNS)]
            ours, hashing = zip(*pairs, strict=True)
            cells += [f"{statistics.median(ours):.2f}", ratio([*ours], [*hashing])]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, "", "Wall time; hashing is SHA-256 in two threads, which needs no lock."]


def essentia_time(python: str | None, path: Path) -> str:
    """What Essentia's MonoLoader takes in a process of its own, in ms."""
    if python is None:
        return "–"
    command = [python, "-c", ESSENTIA, str(path)]
    times = []
    for _ in range(5):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return "fails"
        times.append(float(done.stdout.split()[0]))
    return f"{1000 * statistics.median(times):.0f}"


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a proportion, by Wilson's formula."""
    z, share = 1.959964, hits / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    reach = z / (1 + z * z / total)
    reach *= math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return middle - reach, middle + reach


def listening_table(folder: Path) -> list[str]:
    """Agreement of parts with the whole on the tracks of a folder, every second of them."""
    classifier = genrescope.load()
    tracks = []
    for path in find_audio(folder).files[1::2]:
        try:
            if audio.info(path).duration > 90:
                tracks.append(path)
        except audio.AudioError:
            continue
    names = ("full", "auto", 30, 60)
    agree, spent, seconds = dict.fromkeys(names, 0), dict.fromkeys(names, 0.0), 0.0
    songs: list[float] = []
    for path in tracks:
        found = {}
        for name in names:
            before = processor_time()
            found[name] = classifier.predict(path, listen=name)
            took = processor_time() - before
            spent[name] += took
            if name == "auto" and 180 <= found["auto"].duration <= 300:
                songs.append(took)
        seconds += found["full"].duration
        for name in names:
            agree[name] += found[name].genre == found["full"].genre
    lines = ["| read | genre as of the whole track | processor time a track |", "|---|--:|--:|"]
    for name in names:
        low, high = wilson(agree[name], len(tracks))
        share = f"{agree[name]} of {len(tracks)} ({low:.1%} to {high:.1%})"
        label = f"`{name}`" if isinstance(name, str) else f"{name} s"
        lines.append(
            f"| {label} | {share if name != 'full' else '–'} "
            f"| {1000 * spent[name] / len(tracks):.0f} ms |"
        )
    minutes = seconds / len(tracks) / 60
    song = statistics.mean(songs)
    full = 20_000 * spent["full"] / seconds * 240 / 2 / 60
    lines += [
        "",
        f"{len(tracks)} tracks of {minutes:.1f} minutes on average. `auto` takes {1000 * song:.0f} "
        f"ms for one of the {len(songs)} of three to five minutes: reckoned from that, 20,000 such "
        f"songs take two cores {20_000 * song / 2 / 60:.0f} minutes, and {full:.0f} in full "
        "(of four minutes), start and disk not counted.",
    ]
    return lines


def check() -> None:
    """Warn where decoding or classifying a clip takes longer than it should."""
    if shutil.which("ffmpeg") is None:
        print("speed not checked: there is no ffmpeg here")
        return
    classifier = genrescope.load()
    work: dict[str, Callable[[Path], object]] = {
        "decoding": by_genrescope,
        "classifying": classifier.predict,
    }
    with tempfile.TemporaryDirectory() as name:
        clip = Path(name, "clip.mp3")
        noise = "anoisesrc=color=pink:duration=30:sample_rate=44100"
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", noise, "-ac", "2"]
        subprocess.run([*command, *FORMATS["mp3"], str(clip)], check=True)
        for what, run in work.items():
            run(clip)
            pairs = [(cost(lambda: run(clip)), cost(lambda: by_ffmpeg(clip))) for _ in range(RUNS)]  # noqa: B023
            median = statistics.median(ours / theirs for ours, theirs in pairs)
            text = f"{what} an mp3 of 30 s takes {median:.2f} times what ffmpeg takes to decode it"
            if median > LIMITS[what]:
                text = f"::warning::{text}; expected at most {LIMITS[what]}"
            print(text, flush=True)


def machine() -> str:
    """What the figures were measured on."""
    found = [f"{os.cpu_count()} cores", platform.machine(), f"Python {platform.python_version()}"]
    for package in ("av", "soundfile", "soxr", "numpy", "onnxruntime", "librosa"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    banner = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True)
    found.append("ffmpeg " + banner.stdout.split()[2])
    return ", ".join(found) + f"; medians of {RUNS} runs, range in brackets."


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, nargs="*", help="audio files for the minute")
    parser.add_argument("--long", type=Path, help="a folder of whole tracks")
    parser.add_argument("--essentia", help="a Python that has Essentia")
    parser.add_argument("--decoding", action="store_true", help="decode each format")
    parser.add_argument("--sixty", action="store_true", help="classify 60 mp3s of one minute")
    parser.add_argument("--cores", action="store_true", help="also decode on two cores at once")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    parser.add_argument("--check", action="store_true", help="compare two ratios with their limits")
    arguments = parser.parse_args()
    keep_freed_memory()
    if arguments.check:
        check()
        return
    sections: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.clips:
            files = make_formats(arguments.clips, folder)
            if arguments.decoding:
                table = formats_table(files, arguments.essentia)
                sections["formats"] = [*table, "", machine()]
            if arguments.sixty:
                sections["sixty"] = sixty_table(files["mp3"], folder)
            if arguments.cores:
                sections["cores"] = cores_table(files)
    if arguments.long:
        sections["listening"] = listening_table(arguments.long)
    for section, lines in sections.items():
        print(*lines, "", sep="\n", flush=True)
        if arguments.write:
            write_between(PAGE, section, lines)


if __name__ == "__main__":
    main()
