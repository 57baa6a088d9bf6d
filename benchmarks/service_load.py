"""Throughput and latency of `genrescope serve` with 1, 8 and 64 clients, next to `classify`.

    python benchmarks/service_load.py --seconds 60

Synthetic clips of half a minute are sent over and over again. The clients follow `Retry-After`. In
the same run `Classifier.predict_many` classifies the same files with as many threads as the service
has workers. Memory is that of the service and its workers.
"""

from __future__ import annotations

import argparse
import collections
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import requests

import genrescope
from genrescope.examples import write_examples
from genrescope.parallel import available_cores


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


def load(address: str, files: list[bytes], clients: int, seconds: float) -> dict[str, object]:
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
            answer = session.post(f"{address}/v1/classify", files={"file": ("x.flac", content)})
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
    quantiles = np.quantile(times, [0.5, 0.95, 0.99]).round(2).tolist()
    return {"per_second": rate, "quantiles": quantiles, "statuses": dict(statuses)}


def main() -> None:
    """Measure, and print one line a number of clients."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=available_cores())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_examples(Path(folder), seconds=30)
        files = [Path(path).read_bytes() for path in paths]
        classifier = genrescope.load()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "genrescope", "serve", "--port", str(port)]
        command += ["--model", "default", "--workers", str(options.workers)]
        server = subprocess.Popen(command, env={**os.environ, "XDG_DATA_HOME": folder})
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(300):
                try:
                    if requests.get(f"{address}/readyz", timeout=5).ok:
                        break
                except requests.ConnectionError:
                    pass
                time.sleep(0.2)
            for clients in (1, 8, 64):
                plain = rate_of(classifier, paths, options.workers, options.seconds / 4)
                before = resident(server.pid)
                found = load(address, files, clients, options.seconds)
                after = resident(server.pid)
                plain = (
                    plain + rate_of(classifier, paths, options.workers, options.seconds / 4)
                ) / 2
                p50, p95, p99 = found["quantiles"]  # type: ignore[misc]
                rate = float(str(found["per_second"]))
                print(
                    f"{clients:2} clients: {rate:.2f}/s, p50 {p50} s, p95 {p95} s, p99 {p99} s, "
                    f"{found['statuses']}; classify {plain:.2f}/s, ratio {rate / plain:.2f}; "
                    f"memory {before:.0f} -> {after:.0f} MB",
                    flush=True,
                )
        finally:
            server.terminate()
            server.wait(60)


def rate_of(
    classifier: genrescope.Classifier, paths: list[Path], jobs: int, seconds: float
) -> float:
    """Files that `predict_many` classifies in a second."""
    started, done = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        done += sum(1 for _ in classifier.predict_many([*paths] * jobs, jobs=jobs))
    return done / (time.monotonic() - started)


if __name__ == "__main__":
    main()
