"""Throughput and latency of `genrescope serve` with 1, 8 and 64 clients, next to `classify`.

    python benchmarks/service_load.py --seconds 60 --write docs/service.md

Synthetic clips of half a minute are sent over and over again. The clients follow `Retry-After`.
Before and after each number of clients `Classifier.predict_many` classifies the same files, with as
many threads as the service has workers and in decoder processes as `genrescope classify` does.
Memory is that of the service and its decoders.
"""

from __future__ import annotations

import argparse
import collections
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests
from pages import write_between

import genrescope
from genrescope import audio
from genrescope.examples import write_examples
from genrescope.parallel import available_cores

CLIENTS = (1, 8, 64)


def resident(pid: int) -> float:
    """Memory of a process and its children, in MB; 0 where the system does not tell."""
    total = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text("utf-8").rpartition(")")[2].split()
            if int(folder.name) == pid or int(stat[1]) == pid:
                total += int(stat[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        except (OSError, ValueError, IndexError):
            continue
    return total


@dataclass
class Load:
    """Responses to many clients: how many a second, their times, and how often each status."""

    per_second: float
    quantiles: list[float]
    statuses: collections.Counter[int]


def load(address: str, files: list[bytes], clients: int, seconds: float) -> Load:
    """Send files from many clients for a while."""
    times: list[float] = []
    statuses = collections.Counter[int]()
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        session = requests.Session()
        turn = number
        while time.monotonic() < end:
            started = time.monotonic()
            content = files[turn % len(files)]
            try:
                answer = session.post(f"{address}/v1/classify", files={"file": ("x.flac", content)})
            except requests.RequestException:
                statuses[0] += 1
                continue
            statuses[answer.status_code] += 1
            if answer.status_code == 503:
                time.sleep(
                    min(int(answer.headers["Retry-After"]), max(0.0, end - time.monotonic()))
                )
                continue
            times.append(time.monotonic() - started)
            turn += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = statuses[200] / (time.monotonic() - started)
    return Load(rate, np.quantile(times, [0.5, 0.95, 0.99]).tolist(), statuses)


def rate_of(
    classifier: genrescope.Classifier, paths: list[Path], jobs: int, seconds: float
) -> float:
    """Files that `predict_many` classifies in a second."""
    classified = 0
    with audio.safely(jobs):
        sum(1 for _ in classifier.predict_many(paths[:jobs], jobs=jobs))  # processes start
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            classified += sum(1 for _ in classifier.predict_many([*paths] * jobs, jobs=jobs))
        return classified / (time.monotonic() - started)


@contextmanager
def served(workers: int, folder: str) -> Iterator[tuple[str, int]]:
    """The address of a service that is ready, and its process id."""
    command = [sys.executable, "-m", "genrescope", "serve", "--port", "0"]
    command += ["--model", "default", "--workers", str(workers)]
    environment = {**os.environ, "XDG_DATA_HOME": folder}
    server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        address = server.stderr.readline().split()[0]  # type: ignore[union-attr]
        while not requests.get(f"{address}/readyz", timeout=60).ok:
            time.sleep(0.2)
        yield address, server.pid
    finally:
        server.terminate()
        server.wait(60)


def measured(seconds: float, workers: int) -> list[str]:
    """The rows of the table, each printed as soon as it is known."""
    rows = [
        "| clients | responses a second | `classify`, files a second | ratio | p50 | p95 | p99 | "
        "200 | 503 | other | memory |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(path) for path in write_examples(Path(folder), seconds=30)]
        files = [path.read_bytes() for path in paths]
        classifier = genrescope.load()
        with served(workers, folder) as (address, pid):
            for clients in CLIENTS:
                plain = rate_of(classifier, paths, workers, seconds / 4)
                before = resident(pid)
                found = load(address, files, clients, seconds)
                after = resident(pid)
                plain = (plain + rate_of(classifier, paths, workers, seconds / 4)) / 2
                times = " | ".join(f"{value:.2f} s" for value in found.quantiles)
                full = found.statuses[503]
                other = found.statuses.total() - found.statuses[200] - full
                rows.append(
                    f"| {clients} | {found.per_second:.2f} | {plain:.2f} "
                    f"| {found.per_second / plain:.2f} | {times} | {found.statuses[200]} "
                    f"| {full} | {other} | {before:.0f} → {after:.0f} MB |"
                )
                print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--write", type=Path, metavar="PAGE", help="Put the table there.")
    options = parser.parse_args()
    rows = measured(options.seconds, options.workers)
    busy = os.getloadavg()[2]
    rows = [
        f"{options.seconds:g} s for each row, {options.workers} workers on {available_cores()} "
        f"cores; Python {platform.python_version()}, {platform.machine()}; mean load of the "
        f"machine in the last quarter of an hour, the measurement included: {busy:.1f}.",
        "",
        *rows,
    ]
    print("\n".join(rows))
    if options.write is not None:
        write_between(options.write, "load", rows)


if __name__ == "__main__":
    main()
