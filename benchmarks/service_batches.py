"""Whether segments of several requests in one batch are faster than a batch for each request.

    python benchmarks/service_batches.py --write docs/service.md

The default model gets the segments of half-minute windows of synthetic clips: those of each window
as one batch, as the service does, and those of several windows as one batch. Both take turns in the
same process; the ratio is the median over the turns. As many threads as there are cores do so at
the same time, as they do in a busy service, each with the one thread that the session has.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from pages import write_between

import genrescope
from genrescope.examples import write_examples
from genrescope.features import StreamInfo
from genrescope.parallel import available_cores

TOGETHER = (2, 4, 8)
NAMES = ["logits", "embedding"]


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="Put the table there.")
    options = parser.parse_args()
    classifier = genrescope.load()
    frontend, network = classifier.manifest.frontend, classifier.network
    with tempfile.TemporaryDirectory() as folder:
        batches = [
            np.stack([segment.values for segment in frontend.segments_of(window)])
            for path in write_examples(Path(folder), seconds=30)
            for window in frontend.windows(path, StreamInfo())
        ]
    cores = available_cores()
    rows = ["| windows together | alone | together | alone / together | same bits |"]
    rows.append("|---|---|---|---|---|")
    for count in TOGETHER:
        chosen = [batches[each % len(batches)] for each in range(count)]
        joined = np.concatenate(chosen)

        def alone(
            chosen: list[NDArray[np.float32]] = chosen,
        ) -> NDArray[np.float32]:
            return np.concatenate([network.run(each, NAMES)[0] for each in chosen])

        def together(joined: NDArray[np.float32] = joined) -> NDArray[np.float32]:
            found: NDArray[np.float32] = network.run(joined, NAMES)[0]
            return found

        same = np.array_equal(alone(), together())
        times = np.empty((options.turns, 2))
        with ThreadPoolExecutor(cores) as pool:
            for turn in times:
                for which, way in enumerate((alone, together)):
                    started = time.perf_counter()
                    for done in [pool.submit(way) for _ in range(cores)]:
                        done.result()
                    turn[which] = (time.perf_counter() - started) / (cores * count)
        ratio = float(np.median(times[:, 0] / times[:, 1]))
        one, both = np.median(times, axis=0) * 1000
        rows.append(
            f"| {count} | {one:.1f} ms a window | {both:.1f} ms a window | {ratio:.2f} "
            f"| {'yes' if same else 'no'} |"
        )
        print(rows[-1], flush=True)
    note = f"{options.turns} turns on {cores} cores ({platform.machine()}), "
    note += f"ONNX Runtime {onnxruntime.__version__}, {len(batches[0])} segments a window."
    if options.write is not None:
        write_between(options.write, "batches", [note, "", *rows])


if __name__ == "__main__":
    main()
