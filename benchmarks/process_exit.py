"""Processor time that `genrescope classify` saves by ending without Python's own clean-up.

    python benchmarks/process_exit.py SONG.mp3 [PAIRS]

Runs the command in turn as it is (`genrescope.cli.run`) and with Python's usual exit
(`genrescope.cli.main`, in which all modules are taken apart), 21 pairs by default, and prints the
median of the paired differences in processor time with its quartiles.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys


def seconds(function: str, song: str) -> float:
    """Processor time of `genrescope classify SONG`, started by a function of `genrescope.cli`."""
    code = f"from genrescope.cli import {function}; {function}()"
    before = _children()
    subprocess.run([sys.executable, "-c", code, "classify", song], check=True, capture_output=True)
    return _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(song: str, pairs: int = 21) -> None:
    """Measure and print."""
    seconds("run", song)  # files are in the cache from here on
    differences = [1000 * (seconds("main", song) - seconds("run", song)) for _ in range(pairs)]
    low, middle, high = statistics.quantiles(differences, n=4)
    print(f"saved at the end of classify: {middle:.0f} ms ({low:.0f} to {high:.0f}), {pairs} pairs")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
