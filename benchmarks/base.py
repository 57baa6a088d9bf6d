"""Size and speed of the base install, written into docs/performance.md.

    python benchmarks/base.py MUSIC_FOLDER SONG.mp3 [--write]

measures on this machine: the size of a fresh install, the time of `import genrescope`, of
`genrescope classify SONG.mp3` from a cold start, and files per second over MUSIC_FOLDER against
the time that decoding (and resampling) alone takes in the same number of threads. Times are medians
of five runs in new processes; the two of a ratio take turns.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pages import write_between

from genrescope.audio.files import find_audio

ROOT = Path(__file__).resolve().parents[1]
RUNS = 5
DECODE = """
import sys
from concurrent.futures import ThreadPoolExecutor
import os
from genrescope import audio
from genrescope.audio.files import find_audio
def decode(path):
    return sum(len(block) for block in audio.stream(path, sample_rate=22050))
files = find_audio(sys.argv[1]).files
with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
    assert sum(pool.map(decode, files))
"""


def seconds(command: list[str]) -> float:
    """Wall time of a process that must succeed."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def median(*commands: list[str]) -> list[float]:
    """Median wall time of each command, the commands taking turns, after one turn to warm up."""
    for command in commands:
        seconds(command)
    turns = [[seconds(command) for command in commands] for _ in range(RUNS)]
    return [statistics.median(times) for times in zip(*turns, strict=True)]


def install(folder: Path) -> tuple[str, float]:
    """Make a fresh base install; return its Python, and its size in MB."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = str(folder / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q"]
    pinned = ["-c", str(ROOT / "constraints.txt"), str(ROOT)]
    subprocess.run([*pip, *pinned], check=True)
    # Users have bytecode, so it is compiled and counted whatever the environment sets.
    subprocess.run([python, "-m", "compileall", "-q", str(folder / "lib")], check=False)
    size = sum(p.lstat().st_blocks * 512 for p in folder.rglob("*") if not p.is_symlink())
    return python, size / 1e6


def main(music: Path, song: Path, write: bool) -> None:
    """Measure, print, and write."""
    with tempfile.TemporaryDirectory() as temporary:
        python, size = install(Path(temporary) / "venv")
        count = len(find_audio(music).files)
        (nothing, imported) = median([python, "-c", ""], [python, "-c", "import genrescope"])
        (one,) = median([python, "-m", "genrescope", "classify", str(song)])
        classify = [python, "-m", "genrescope", "classify", str(music), "-f", "csv"]
        (all_of_it, decoding) = median(classify, [python, "-c", DECODE, str(music)])
        packages = subprocess.run(
            [sys.executable, "-m", "pip", "--python", python, "list", "--format=freeze"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.count("==")
    cores = len(os.sched_getaffinity(0))
    lines = [
        "| What | Measured |",
        "|---|--:|",
        f"| Base install on disk, compiled, {packages} packages | {size:.0f} MB |",
        f"| `import genrescope`, over an empty Python | {1000 * (imported - nothing):.0f} ms |",
        f"| `genrescope classify` of one mp3 ({song.stat().st_size / 1e6:.1f} MB), cold process "
        f"| {one:.2f} s |",
        f"| `genrescope classify` of {count} tracks | {all_of_it:.2f} s, "
        f"{count / all_of_it:.1f} files/s |",
        f"| decoding and resampling them alone, same threads | {decoding:.2f} s |",
        f"| ratio of the two | {all_of_it / decoding:.2f} |",
        "",
        f"{cores} cores, {platform.machine()}, Python {platform.python_version()}; medians of "
        f"{RUNS} runs.",
    ]
    print("\n".join(lines))
    if write:
        write_between(ROOT / "docs" / "performance.md", "base", lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), "--write" in sys.argv)
