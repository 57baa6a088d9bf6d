"""Throughput, start-up and memory of the local engine and of Ray, on one core and on two.

    python benchmarks/engines.py --files 2000 --out benchmarks/engines.json --write docs/scale.md

Files are made from the example clips: each with its own gain, noise and cut, as FLAC, MP3 or Ogg
Vorbis. Each engine runs in a fresh process that may use the given cores (`taskset`); the runs of
one round follow each other, so that the load of other programs meets all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from pages import write_between

SECONDS = 30.0
_ENDINGS = (".flac", ".mp3", ".ogg")


def make_files(folder: Path, count: int) -> None:
    """Write perturbed clips of `SECONDS` seconds; those that are there are kept."""
    import soundfile

    from genrescope import audio
    from genrescope.examples import write_examples

    with tempfile.TemporaryDirectory() as temporary:
        clips = [audio.load(path) for path in sorted(write_examples(Path(temporary), seconds=60))]
    for number in range(count):
        path = folder / f"{number:06d}{_ENDINGS[number % len(_ENDINGS)]}"
        if path.exists():
            continue
        random = np.random.default_rng(number)
        clip = clips[number % len(clips)]
        length = int(SECONDS * clip.sample_rate)
        start = random.integers(0, len(clip.samples) - length)
        samples = clip.samples[start : start + length] * random.uniform(0.3, 0.9)
        samples = samples + random.normal(0, 0.002, length)
        soundfile.write(path, samples.clip(-1, 1), clip.sample_rate)


def _processes() -> list[int]:
    """The ids of this process and of its descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text("utf-8", "replace")
            except OSError:
                continue
            parents[int(entry.name)] = int(status.rpartition(")")[2].split()[1])
    found = [os.getpid()]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def _memory() -> tuple[float, float]:
    """Proportional set size of all processes in MB, and CPU seconds that they have used."""
    total, seconds = 0, 0.0
    for process in _processes():
        try:
            text = Path(f"/proc/{process}/smaps_rollup").read_text("utf-8")
            status = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        fields = status.rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total / 1024, seconds


def measure(engine: str, cores: int, folder: Path) -> dict[str, Any]:
    """Classify all files of a folder in this process, as `genrescope classify` does."""
    from genrescope import Classifier
    from genrescope.audio.workers import safely_for

    files = sorted(folder.iterdir())
    begun = time.perf_counter()
    classifier = Classifier.load("default")
    decoders: AbstractContextManager[Any] = nullcontext()
    if engine == "ray":
        from genrescope.inference.ray_engine import RayEngine

        ray = RayEngine(cores=cores)
        # The first tasks start the workers, which import everything.
        list(ray.predict_many(classifier, files[:cores]))
        start, results = time.perf_counter() - begun, ray.predict_many(classifier, files)
    else:
        list(classifier.predict_many(files[:1], jobs=1))
        decoders = safely_for(len(files), cores)
        start, results = time.perf_counter() - begun, classifier.predict_many(files, jobs=cores)
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            peak[0] = max(peak[0], _memory()[0])

    watcher = threading.Thread(target=watch)
    before = _memory()[1]
    watcher.start()
    begun = time.perf_counter()
    with decoders:
        count = sum(1 for _ in results)
    wall = time.perf_counter() - begun
    done.set()
    watcher.join()
    memory, after = _memory()
    return {
        "engine": engine,
        "cores": cores,
        "files": count,
        "start_s": start,
        "wall_s": wall,
        "cpu_s": after - before,
        "files_per_s": count / wall,
        "memory_mb": max(peak[0], memory),
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as a table, with the throughput as a share of the same engine's on one core."""
    lines = [
        "| engine | cores | files a second | of one core's, a core | start | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        alone = [
            each["files_per_s"]
            for each in rows
            if each["engine"] == row["engine"] and each["cores"] == 1
        ]
        share = row["files_per_s"] / statistics.median(alone) / row["cores"]
        lines.append(
            f"| {row['engine']} | {row['cores']} | {row['files_per_s']:.1f} | {share:.0%} "
            f"| {row['start_s']:.1f} s | {row['memory_mb']:.0f} MB |"
        )
    return lines


def main() -> None:
    """Run the engines one after the other, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/genrescope-engines-30"))  # noqa: S108
    parser.add_argument(
        "--out", "--output", dest="output", type=Path, default=Path(__file__).with_suffix(".json")
    )
    parser.add_argument("--write", type=Path, metavar="PAGE", help="Put the table there.")
    parser.add_argument("--table", action="store_true", help="Only write what --out holds.")
    parser.add_argument("--one", nargs=2, metavar=("ENGINE", "CORES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        engine, cores = options.one
        print(json.dumps(measure(engine, int(cores), options.folder)))
        return
    if options.table:
        write(json.loads(options.output.read_text("utf-8")), options.write)
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    make_files(options.folder, options.files)
    rows = []
    for _ in range(options.rounds):
        for cores in (1, 2):
            for engine in ("local", "ray"):
                command = ["taskset", "-c", ",".join(map(str, range(cores))), sys.executable]
                command += [__file__, "--folder", str(options.folder), "--one", engine, str(cores)]
                result = subprocess.run(command, check=True, capture_output=True, text=True)
                rows.append(json.loads(result.stdout.splitlines()[-1]))
                print(json.dumps(rows[-1]), flush=True)
                options.output.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    write(rows, options.write)


def write(rows: list[dict[str, Any]], page: Path | None) -> None:
    """Print the table, and put it into a page if one is named."""
    lines = table(rows)
    print("\n".join(lines))
    if page is not None:
        write_between(page, "engines", lines)


if __name__ == "__main__":
    main()
