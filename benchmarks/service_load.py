"""Throughput and latency of `genrescope serve` with 1, 8 and 64 clients, next to `classify`.

    python benchmarks/service_load.py --seconds 60 --write docs/service.md

Synthetic clips of half a minute are sent over and over again. The clients follow `Retry-After`, and
keep their connections. They run on the cores of the service, so they do as little as they can: the
forms are made before, and `http.client` sends them. The table says how many cores they kept busy.
Before and after each number of clients `Classifier.predict_many` classifies the same files, with as
many threads as the service has workers and in decoder processes as `genrescope classify` does.
Memory is that of the service and its decoders.

A second table is of one client that waits for each prediction: a track at a time, with its segments
as one batch, as the service does, and as two halves at the same time on two threads. Next to them
is the time that a track takes where all cores classify, in the same process.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import requests
from numpy.typing import NDArray
from pages import write_between

import genrescope
from genrescope import audio
from genrescope.examples import write_examples
from genrescope.parallel import available_cores

CLIENTS = (1, 8, 64)
TURNS = 15  # of the second table
EDGE = b"genrescope-benchmark"
FORM = f"multipart/form-data; boundary={EDGE.decode()}"


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
    """Responses to many clients: how many a second, their times, and how often each status.

    Status 0 stands for a connection that failed.
    """

    per_second: float
    quantiles: list[float]
    statuses: collections.Counter[int]
    cores: float
    """Cores that the clients kept busy."""


def load(address: str, files: list[bytes], clients: int, seconds: float) -> Load:
    """Send files from many clients for a while."""
    times: list[float] = []
    statuses = collections.Counter[int]()
    forms = [form_of(content) for content in files]
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
        turn = number
        while time.monotonic() < end:
            started = time.monotonic()
            form = forms[turn % len(forms)]
            try:
                connection.request("POST", "/v1/classify", form, {"Content-Type": FORM})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                statuses[0] += 1
                continue
            statuses[answer.status] += 1
            if answer.status == 503:
                wait = int(answer.headers["Retry-After"])
                time.sleep(max(0.0, min(wait, end - time.monotonic())))
                continue
            times.append(time.monotonic() - started)
            turn += 1
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    started, computed = time.monotonic(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - started
    cores = (time.process_time() - computed) / took
    return Load(
        statuses[200] / took, np.quantile(times, [0.5, 0.95, 0.99]).tolist(), statuses, cores
    )


def form_of(content: bytes) -> bytes:
    """A file as a form, as browsers send it."""
    field = 'Content-Disposition: form-data; name="file"; filename="x.flac"'
    return b"--%b\r\n%b\r\n\r\n%b\r\n--%b--\r\n" % (EDGE, field.encode(), content, EDGE)


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
        "200 | 503 | other | clients' cores | memory |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
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
                    f"| {full} | {other} | {found.cores:.2f} "
                    f"| {before:.0f} → {after:.0f} MB |"
                )
                print(rows[-1], flush=True)
    return rows


def halves(turns: int, workers: int) -> list[str]:
    """The rows of a table: one track at a time, with the network whole and in halves."""
    classifier = genrescope.load()
    whole = classifier.network.run
    times: dict[str, list[float]] = {"all": [], "whole": [], "halves": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        audio.safely(workers),
        ThreadPoolExecutor(1) as other,
    ):
        paths = [Path(path) for path in write_examples(Path(folder), seconds=30)]

        def in_halves(segments: NDArray[np.float32], names: Sequence[str]) -> list[NDArray[Any]]:
            middle = len(segments) // 2
            first = other.submit(whole, segments[:middle], names)
            second = whole(segments[middle:], names)
            return [np.concatenate(both) for both in zip(first.result(), second, strict=True)]

        def timed(name: str, work: Callable[[], list[Any]]) -> list[Any]:
            started = time.perf_counter()
            found = work()
            times[name].append((time.perf_counter() - started) / len(found) * 1000)
            return found

        for turn in range(turns + 1):
            timed("all", lambda: [*classifier.predict_many(paths * 2, jobs=workers)])
            one = timed("whole", lambda: [classifier.predict(path) for path in paths])
            classifier.network.run = in_halves  # type: ignore[method-assign]
            two = timed("halves", lambda: [classifier.predict(path) for path in paths])
            classifier.network.run = whole  # type: ignore[method-assign]
            same = all(
                np.array_equal(a.embedding, b.embedding) for a, b in zip(one, two, strict=True)
            )
            if not turn:  # decoders start, memory is taken
                times = {name: [] for name in times}
    rows = ["| a track of half a minute | time | compared with all cores | same bits |"]
    rows.append("|---|---|---|---|")
    base = np.array(times["all"])
    for name, words in (
        ("all", "`classify`, all cores"),
        ("whole", "one at a time"),
        ("halves", "one at a time, the network in halves on two threads"),
    ):
        ratio = float(np.median(base / np.array(times[name])))
        bits = "" if name == "all" else "yes" if name == "whole" or same else "no"
        rows.append(f"| {words} | {np.median(times[name]):.1f} ms | {ratio:.2f} | {bits} |")
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
    apart = halves(TURNS, options.workers)
    print("\n".join([*rows, "", *apart]))
    if options.write is not None:
        write_between(options.write, "load", rows)
        write_between(options.write, "halves", apart)


if __name__ == "__main__":
    main()
