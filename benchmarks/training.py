"""What makes training on a processor faster, each measured by itself: docs/performance.md.

    python benchmarks/training.py [--jemalloc LIBRARY] [--recipes NAME...] [--write]

trains the networks of recipes on random spectrograms for some epochs, in a process of its own for
each way, and counts its processor time and page faults per step from the second epoch on, on one
core. The ways take turns; times are medians of five runs, ratios medians of the ratios of a turn.
"As it is" is what `genrescope train` does; every other way changes one thing. jemalloc is measured
where its library is named (Debian: libjemalloc2), `torch.compile` where there is a C++ compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pages import write_between

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
RUNS = 5
AS_IT_IS = "as it is"
WAYS = {
    AS_IT_IS: "",
    "freed memory goes back to the system (glibc's default)": "default-malloc",
    "jemalloc in place of glibc's": "jemalloc",
    "channels first in memory": "channels-first",
    "fp32 in place of bf16 (`precision: auto`)": "fp32",
    "`torch.compile`": "compile",
}


def train(recipe_name: str, way: str, epochs: int) -> dict[str, float]:
    """Train in one way; the costs of a step."""
    import torch

    from genrescope.heap import keep_freed_memory
    from genrescope.training.augment import TrainingTrack
    from genrescope.training.recipe import load_recipe
    from genrescope.training.trainers import lightning

    torch.set_num_threads(1)
    if way not in ("default-malloc", "jemalloc"):
        keep_freed_memory()
    if way == "channels-first":
        torch.channels_last = torch.contiguous_format  # type: ignore[misc]
    if way == "compile":
        plain = lightning.make_model

        def compiled(*settings: Any, **named: Any) -> Any:
            network = plain(*settings, **named)
            network.compile()
            return network

        lightning.make_model = compiled
    precision = "fp32" if way == "fp32" else "auto"
    changes = ["ensemble=[]", f"training.epochs={epochs}", f"training.precision={precision}"]
    recipe = load_recipe(recipe_name, changes)
    size, frames = recipe.frontend.shape
    random, batch = torch.Generator().manual_seed(0), recipe.training.batch_size
    total = round(30 / recipe.frontend.hop_seconds)
    tracks = [
        TrainingTrack(torch.randn(size, total, generator=random), number % 10)
        for number in range(10 * batch)
    ]
    marks: list[resource.struct_rusage] = []

    def report(*_: object) -> None:
        marks.append(resource.getrusage(resource.RUSAGE_SELF))

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "checkpoint.ckpt")
        lightning.fit(
            recipe,
            tracks,
            10,
            shape=(size, frames),
            checkpoint=checkpoint,
            report=report,
            curves={},
        )
    first, last, steps = marks[0], marks[-1], 10 * (len(marks) - 1)
    from genrescope.training.augment import Batches

    batches = Batches(tracks, 10, frames, batch, 0.0, recipe.augmentation, 0, 0)
    began = time.process_time()
    count = sum(1 for _ in batches)
    loading = (time.process_time() - began) / count
    return {
        "user": 1000 * (last.ru_utime - first.ru_utime) / steps,
        "system": 1000 * (last.ru_stime - first.ru_stime) / steps,
        "faults": (last.ru_minflt - first.ru_minflt) / steps,
        "loading": 1000 * loading,
    }


def in_process(recipe: str, way: str, epochs: int, jemalloc: str | None) -> dict[str, float]:
    """The same in a process of its own, whose allocator has no settings of the environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    environment["OMP_NUM_THREADS"] = "1"
    if way == "jemalloc":
        environment["LD_PRELOAD"] = str(jemalloc)
    command = [sys.executable, __file__, "--one", recipe, way, "--epochs", str(epochs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    costs: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return costs


def table(recipe: str, epochs: int, jemalloc: str | None) -> list[str]:
    """All ways of training one recipe's network."""
    absent = {"jemalloc"} if jemalloc is None else set()
    absent |= set() if shutil.which("g++") else {"compile"}
    ways = {name: way for name, way in WAYS.items() if way not in absent}
    turns = [
        {name: in_process(recipe, way, epochs, jemalloc) for name, way in ways.items()}
        for _ in range(RUNS)
    ]

    def median(name: str, what: str) -> float:
        return statistics.median(turn[name][what] for turn in turns)

    def total(costs: dict[str, float]) -> float:
        return costs["user"] + costs["system"]

    lines = []
    for name in ways:
        ratios = [total(turn[name]) / total(turn[AS_IT_IS]) for turn in turns]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        lines.append(
            f"| `{recipe}` | {name} | {median(name, 'user'):.0f} ms | {median(name, 'system'):.1f} "
            f"ms | {median(name, 'faults'):.0f} | {'1' if name == AS_IT_IS else spread} |"
        )
    share = median(AS_IT_IS, "loading") / (median(AS_IT_IS, "user") + median(AS_IT_IS, "system"))
    loading = f"{median(AS_IT_IS, 'loading'):.1f} ms"
    return [*lines, f"| `{recipe}` | making the batches alone | {loading} | | | {share:.2f} |"]


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=["default", "fma"])
    parser.add_argument("--jemalloc", help="the library, for LD_PRELOAD")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--one", nargs=2, metavar=("RECIPE", "WAY"), help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(train(*arguments.one, arguments.epochs)))
        return
    import torch

    lines = [
        "| network | way | user time a step | kernel's time | page faults a step | ratio |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for recipe in arguments.recipes:
        lines += table(recipe, arguments.epochs, arguments.jemalloc)
    where = f"One core, {platform.machine()}, Python {platform.python_version()}"
    about = f"{where}, torch {torch.__version__}; medians of {RUNS} runs, range in brackets."
    lines += ["", about]
    print(*lines, sep="\n")
    if arguments.write:
        write_between(PAGE, "training", lines)


if __name__ == "__main__":
    main()
