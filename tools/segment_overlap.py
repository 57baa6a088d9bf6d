"""How much the segments of the shipped model overlap when it classifies, and what that costs.

    python tools/segment_overlap.py compare RUN... --data DATA [--artists TABLE] [--overlap 0.1] [--write]

compares, for the networks of finished runs (of folds, each), the test tracks, which a network was
neither trained on nor chosen by: classified with the overlap of the run's recipe, and with another one. The
differences are of the same tracks, with 95 % intervals by a bootstrap that draws artists as a whole
where they are known. With --write the table goes into docs/performance.md.

    python tools/segment_overlap.py set 0.1

writes an overlap into the shipped bundle; its recipe, in the provenance, keeps the one of training.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.aggregation import aggregate_logits
from genrescope.datasets import read_dataset
from genrescope.evaluation.bootstrap import Figure, count_groups, interval, mean, resampled
from genrescope.evaluation.metrics import confidence_bins
from genrescope.features import Frontend
from genrescope.inference import Bundle
from genrescope.inference.bundle import SHIPPED
from genrescope.inference.network import LOGITS, Network

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
HEAD = [
    "| networks, segments | held-out tracks | overlap | segments a track | accuracy "
    "| log loss | ECE |",
    "|---|--:|--:|--:|--:|--:|--:|",
]


def with_overlap(frontend: Frontend, overlap: float) -> Frontend:
    """The same front end with another overlap of segments."""
    fields = frontend.model_dump()
    fields["segments"]["overlap"] = overlap
    return Frontend.model_validate(fields)


def probabilities(bundle: Bundle, files: list[Path]) -> tuple[NDArray[np.float64], float]:
    """Of each track, `[tracks, genres]`, and how many segments one has on average."""
    manifest, network, rows, segments = bundle.manifest, Network(bundle), [], 0
    for file in files:
        windows = manifest.frontend.windows(file)
        outputs = [found for _, (found,) in network.run_windows(windows, [LOGITS])]
        logits = np.concatenate(outputs)
        segments += len(logits)
        rows.append(aggregate_logits(logits, manifest.temperature, manifest.aggregation))
    return np.array(rows), segments / len(files)


def held_out(job: Path) -> list[str]:
    """The test tracks of a job: those that its network was neither trained on nor chosen by."""
    found: list[str] = json.loads((job / "tracks.json").read_text("utf-8"))["predicted"]
    return found


def compared(run: Path, data: Path, artists: Path | None, overlap: float) -> str:
    """One line of the table: a run's networks with both overlaps."""
    bundle, dataset = Bundle.load(run), read_dataset(data, artists=artists)
    manifest, tracks = bundle.manifest, {track.id: track for track in dataset.tracks}
    usual = manifest.frontend.segments.overlap
    rows: dict[float, list[NDArray[np.float64]]] = {usual: [], overlap: []}
    lengths: dict[float, list[float]] = {usual: [], overlap: []}
    labels, groups = [], []
    for job in sorted((run / "jobs").iterdir()):
        ids = [track for track in held_out(job) if track in tracks]
        if not ids:
            continue
        labels += [manifest.genres.index(tracks[track].genre) for track in ids]
        groups += [tracks[track].artist or track for track in ids]
        for each in rows:
            frontend = with_overlap(manifest.frontend, each)
            changed = manifest.model_copy(update={"frontend": frontend})
            one = Bundle(changed, (job / "model.onnx").read_bytes())
            found, length = probabilities(one, [Path(tracks[track].path) for track in ids])
            rows[each].append(found)
            lengths[each].append(length)
    truth = np.array(labels)
    before, after = (np.concatenate(rows[each]) for each in (usual, overlap))
    right = [(found.argmax(axis=1) == truth).astype(float) for found in (before, after)]
    losses = [-np.log(found[np.arange(len(truth)), truth]) for found in (before, after)]
    own = [float(confidence_bins(truth, found).error) for found in (before, after)]
    units = count_groups(groups)
    drawn = [
        confidence_bins(truth, after, 10, w).error - confidence_bins(truth, before, 10, w).error
        for w in resampled(groups)
    ]
    error = signed(100, own[1] - own[0], *interval(np.concatenate(drawn), units=units, lowest=-1))
    accuracy = mean(right[1] - right[0], groups, lowest=-1)
    loss = mean(losses[1] - losses[0], groups)
    cells = [
        f"{manifest.name}, {manifest.frontend.segments.seconds:g} s",
        str(len(truth)),
        f"{usual:g} → {overlap:g}",
        f"{np.mean(lengths[usual]):.0f} → {np.mean(lengths[overlap]):.0f}",
        f"{100 * right[0].mean():.1f} %, {of_figure(100, accuracy)}",
        f"{losses[0].mean():.3f}, {of_figure(1, loss)}",
        f"{100 * own[0]:.1f} %, {error}",
    ]
    return f"| {' | '.join(cells)} |"


def signed(scale: float, value: float, low: float, high: float) -> str:
    """A difference with its interval."""
    digits = 1 if scale > 1 else 3
    texts = [f"{scale * number:+.{digits}f}" for number in (value, low, high)]
    return f"{texts[0]} ({texts[1]} to {texts[2]})"


def of_figure(scale: float, figure: Figure) -> str:
    """The same of a figure."""
    return signed(scale, figure.value, figure.low, figure.high)


def main() -> None:
    """Compare, or write the shipped bundle again."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    comparing = commands.add_parser("compare")
    comparing.add_argument("runs", type=Path, nargs="+")
    comparing.add_argument("--data", type=Path, required=True)
    comparing.add_argument("--artists", type=Path)
    comparing.add_argument("--overlap", type=float, default=0.1)
    comparing.add_argument("--write", action="store_true")
    setting = commands.add_parser("set")
    setting.add_argument("overlap", type=float)
    options = parser.parse_args()
    if options.command == "set":
        bundle = Bundle.load("default")
        frontend = with_overlap(bundle.manifest.frontend, options.overlap)
        manifest = bundle.manifest.model_copy(update={"frontend": frontend})
        replace(bundle, manifest=manifest).save(SHIPPED / "default")
        return
    lines = [compared(run, options.data, options.artists, options.overlap) for run in options.runs]
    print(*HEAD, *lines, sep="\n")
    if options.write:
        sys.path.append(str(ROOT / "benchmarks"))
        from pages import write_between

        write_between(PAGE, "segments", [*HEAD, *lines])


if __name__ == "__main__":
    main()
