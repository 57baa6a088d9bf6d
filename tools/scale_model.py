"""What many tracks cost: stage costs measured here, a simulation of the pipeline, and its check.

    python tools/scale_model.py measure FOLDER > stages.json     # stage costs, and paired real runs
    python tools/scale_model.py cost stages.json --write docs/scale.md

The simulation is of discrete events. A file passes three stages: it is fetched (a request that
takes a latency and a share of the bandwidth), decoded (a core), and run through the network (a
core). Cores are shared by the last two, the network first; at most `ahead` files wait between two
stages, which is the back-pressure.

The check uses costs in seconds of a core, so that other programs don't count in them, and what
these programs took of the cores in the very run that is checked: of the time in which a thread
could have run, the share in which it did, as Linux tells of each thread.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Costs:
    """Seconds of one core for a file, by stage, and its size.

    Attributes
    ----------
    decode, network
        Seconds for decoding with features, and for the network.
    size
        Bytes.
    seconds
        Of audio.
    """

    decode: float
    network: float
    size: int
    seconds: float


@dataclass(frozen=True)
class Machine:
    """A node, and what it reads from.

    Attributes
    ----------
    cores
        Of the node.
    bandwidth
        Bytes per second that all fetches share.
    latency
        Seconds of a request before its first byte.
    requests
        Requests that run at once.
    ahead
        Files that may wait before each stage.
    share
        Of each core, that other programs leave.
    """

    cores: int = 2
    bandwidth: float = 1e12
    latency: float = 0.0
    requests: int = 4
    ahead: int = 8
    share: float = 1.0


def simulate(files: Sequence[Costs], machine: Machine) -> float:
    """Seconds until the last file is done."""
    waiting: deque[Costs] = deque(files)
    fetched: deque[Costs] = deque()
    decoded: deque[Costs] = deque()
    events: list[tuple[float, int, str, Costs]] = []
    now, number = 0.0, 0
    cores, fetching, blocked, link_free = machine.cores, 0, 0, 0.0

    def start(duration: float, stage: str, file: Costs) -> None:
        nonlocal number
        number += 1
        heapq.heappush(events, (now + duration, number, stage, file))

    while True:
        while cores and (decoded or (fetched and len(decoded) + blocked < machine.ahead)):
            cores -= 1
            if decoded:
                file = decoded.popleft()
                start(file.network / machine.share, "network", file)
            else:
                file = fetched.popleft()
                blocked += 1  # its place in the queue behind it
                start(file.decode / machine.share, "decode", file)
        while waiting and fetching < machine.requests and len(fetched) + fetching < machine.ahead:
            file = waiting.popleft()
            fetching += 1
            # One file after the other on the link: the sum is that of shares.
            link_free = max(now, link_free) + file.size / machine.bandwidth
            start(link_free - now + machine.latency, "fetch", file)
        if not events:
            return now
        now, _, stage, file = heapq.heappop(events)
        if stage == "fetch":
            fetching -= 1
            fetched.append(file)
        else:
            cores += 1
            if stage == "decode":
                blocked -= 1
                decoded.append(file)


def stage_costs(classifier: Any, path: Path) -> tuple[Costs, Costs]:
    """Measure one file, stage by stage: by the clock, and in seconds of a core.

    The two differ where other programs use the machine.
    """
    from genrescope.features import StreamInfo
    from genrescope.inference.network import EMBEDDING, LOGITS

    frontend, info = classifier.manifest.frontend, StreamInfo()
    clocks = [(time.perf_counter(), time.thread_time())]
    windows = list(frontend.windows(path, info))
    clocks.append((time.perf_counter(), time.thread_time()))
    for _ in classifier.network.run_windows(windows, [LOGITS, EMBEDDING]):
        pass
    clocks.append((time.perf_counter(), time.thread_time()))
    wall, core = (
        Costs(middle - begun, end - middle, path.stat().st_size, info.duration)
        for begun, middle, end in zip(*clocks, strict=True)
    )
    return wall, core


class Share:
    """What other programs leave of the cores, while it is entered.

    Attributes
    ----------
    value
        Of the time in which threads of this process ran or waited for a core, the share in which
        they ran; 1 where the system does not tell.
    """

    def __init__(self) -> None:
        self.value = 1.0
        self._seen: dict[str, tuple[int, int]] = {}
        self._before: dict[str, tuple[int, int]] = {}
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch)

    def __enter__(self) -> Share:
        self._look()
        self._before = dict(self._seen)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()
        nothing = (0, 0)
        pairs = [(self._before.get(thread, nothing), now) for thread, now in self._seen.items()]
        ran = sum(now[0] - before[0] for before, now in pairs)
        waited = sum(now[1] - before[1] for before, now in pairs)
        if ran:
            self.value = ran / (ran + waited)

    def _watch(self) -> None:
        while not self._done.wait(0.05):  # a thread that has ended tells nothing any more
            self._look()

    def _look(self) -> None:
        for file in Path("/proc/self/task").glob("*/schedstat"):
            with suppress(OSError):
                ran, waited, _ = file.read_text().split()
                self._seen[file.parent.name] = int(ran), int(waited)


def measure(folder: Path, rounds: int, per_round: int) -> dict[str, Any]:
    """Stage costs on some files, and the real engine on others, in turn.

    The files of each round are parted in two: those that costs are measured on, one by one, and
    those that the engine classifies, so that the check is not of a run against itself.
    """
    from genrescope import Classifier

    classifier = Classifier.load("default")
    files = sorted(folder.iterdir())
    stage_costs(classifier, files[0])
    costs, checks = [], []
    for number in range(rounds):
        chosen = files[2 * per_round * number : 2 * per_round * (number + 1)]
        real, both = chosen[::2], [stage_costs(classifier, path) for path in chosen[1::2]]
        measured = [core for _, core in both]
        costs += measured
        for cores in (1, 2):
            begun, used = time.perf_counter(), time.process_time()
            with Share() as share:
                count = sum(1 for _ in classifier.predict_many(real, jobs=cores))
            seconds, used = time.perf_counter() - begun, time.process_time() - used
            scale = count / len(measured)
            expected = simulate(measured, Machine(cores=cores, share=share.value)) * scale
            check = {"cores": cores, "measured_s": seconds, "simulated_s": expected}
            check |= {"share": share.value, "measured_core_s": used}
            check["expected_core_s"] = sum(each.decode + each.network for each in measured) * scale
            checks.append(check)
    return {"costs": [asdict(each) for each in costs], "checks": checks}


def report(stages: dict[str, Any], track_seconds: float, price: float, rate: float) -> list[str]:
    """The tables of docs/scale.md, as Markdown."""
    costs = [Costs(**each) for each in stages["costs"]]
    audio = sum(each.seconds for each in costs)
    decode = sum(each.decode for each in costs) / audio
    network = sum(each.network for each in costs) / audio
    lines = [
        "| cores | runs | simulated / measured (median) | lowest | highest | left by others "
        "| core-seconds, simulated / measured |",
        "|---|---|---|---|---|---|---|",
    ]
    for cores in (1, 2):
        own = [check for check in stages["checks"] if check["cores"] == cores]
        ratios = [check["simulated_s"] / check["measured_s"] for check in own]
        middle = statistics.median(ratios)
        share = statistics.median(check.get("share", 1.0) for check in own)
        used = sum(check.get("measured_core_s", 0.0) for check in own)
        core = sum(check.get("expected_core_s", 0.0) for check in own) / used if used else math.nan
        lines.append(
            f"| {cores} | {len(own)} | {middle:.2f} | {min(ratios):.2f} | {max(ratios):.2f} "
            f"| {share:.2f} | {core:.2f} |"
        )
    lines += [
        "",
        f"Per minute of audio: decoding and features {60000 * decode:.0f} ms, network "
        f"{60000 * network:.0f} ms of a core.",
        "",
        f"| tracks of {track_seconds / 60:g} min | core-hours "
        f"| terabytes at {rate / 1000:g} kbit/s | requests "
        f"| at {price:g} a core-hour | days on 64 cores |",
        "|---|---|---|---|---|---|",
    ]
    for count in (10**6, 10**8):
        hours = count * track_seconds * (decode + network) / 3600
        terabytes = count * track_seconds * rate / 8 / 1e12
        lines.append(
            f"| {count:,} | {hours:,.0f} | {terabytes:,.1f} | {count:,} "
            f"| {hours * price:,.0f} | {hours / 64 / 24:,.1f} |"
        )
    track = Costs(
        decode * track_seconds, network * track_seconds, int(track_seconds * rate / 8), 0.0
    )
    lines += ["", "| cores | 1 Gbit/s | 10 Gbit/s | limited by |", "|---|---|---|---|"]
    for cores in (16, 64, 256, 1024):
        rates = []
        for link in (1e9, 1e10):
            machine = Machine(cores, link / 8, 0.05, 4 * cores, 4 * cores)
            count = 20 * cores
            rates.append(count / simulate([track] * count, machine))
        ideal = cores / (track.decode + track.network)
        cause = "cores" if rates[0] > 0.8 * ideal else "network"
        cause = cause if rates[1] > 0.8 * ideal else "network, even at 10 Gbit/s"
        cause = "network at 1 Gbit/s" if cause == "network" else cause
        lines.append(f"| {cores} | {rates[0]:.1f} | {rates[1]:.1f} tracks/s | {cause} |")
    return lines


def main() -> None:
    """Measure, or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    measured = commands.add_parser("measure")
    measured.add_argument("folder", type=Path)
    measured.add_argument("--rounds", type=int, default=5)
    measured.add_argument("--files", type=int, default=200, help="of each kind in a round")
    cost = commands.add_parser("cost")
    cost.add_argument("stages", type=Path)
    cost.add_argument("--track-seconds", type=float, default=240.0)
    cost.add_argument("--write", type=Path, metavar="PAGE", help="Put the tables there.")
    cost.add_argument("--price", type=float, default=0.04, help="of a core-hour")
    cost.add_argument("--bit-rate", type=float, default=256_000.0)
    options = parser.parse_args()
    if options.command == "measure":
        print(json.dumps(measure(options.folder, options.rounds, options.files)))
        return
    stages = json.loads(options.stages.read_text("utf-8"))
    tables = report(stages, options.track_seconds, options.price, options.bit_rate)
    print(*tables, sep="\n")
    if options.write is not None:
        sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
        from pages import write_between

        write_between(options.write, "costs", tables)


if __name__ == "__main__":
    main()
