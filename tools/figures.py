"""Write the measured figures of finished runs into the documentation.

    python tools/figures.py runs

reads `metrics.json` of the runs `default`, `default-random` and `default-filtered` in that folder
and replaces what stands between the markers `<!-- NAME -->` and `<!-- /NAME -->` in the README, in
docs/default-model.md and in docs/model-card.md. No figure there is typed by hand.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.evaluation.bootstrap import mean
from genrescope.evaluation.metrics import calibration_error
from genrescope.evaluation.predictions import read_predictions

ROOT = Path(__file__).resolve().parents[1]
PROTOCOLS = {
    "default": "(a) five-fold cross-validation, grouped by artist",
    "default-random": "(b) random 60/20/20 by track, as the papers do",
    "default-filtered": "(c) fault-filtered lists, trained on the training list",
}
# What the recipe was chosen from; runs in `chosen/NAME-random` and `chosen/NAME-filtered`.
RIVALS = {
    "shipped": "as shipped: four networks",
    "mean": "the same, `aggregation=mean_probability`",
    "one": "`ensemble=[]`",
    "seed": "`ensemble=[]`, `seed=1`",
    "mixup": "`ensemble=[]`, `augmentation.mixup=0.3 training.label_smoothing=0.1`",
    "masks": "`ensemble=[]`, `augmentation.masks=2 augmentation.mask_frames=6 "
    "augmentation.mask_bands=10 model.dropout=0.3`",
    "long": "`ensemble=[]`, `segments.seconds=5`",
    "teacher-5": "`ensemble=[]`, `training.teacher_weight=5`, with the teacher",
    "teacher-20": "`ensemble=[]`, `training.teacher_weight=20`, with the teacher",
    "teacher-60": "`ensemble=[]`, `training.teacher_weight=60`, with the teacher",
    "wide": "`ensemble=[]`, `training.teacher_weight=60 model.channels=[24,48,96,144]`, "
    "with the teacher",
    "last": "the recipe before this one: a network of 5 s, `aggregation=mean_probability`",
    "first": "the recipe of version 0.1.0: a network of 11 s, masks, mixup, teacher",
}
COLUMNS = {
    "accuracy": "Accuracy",
    "macro_precision": "Precision",
    "macro_recall": "Recall",
    "macro_f1": "F1",
    "expected_calibration_error": "ECE",
}


def percent(metrics: dict[str, Any], name: str) -> str:
    """A figure with its interval, in percent."""
    low, high = metrics["interval"][name]
    return f"{100 * metrics[name]:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def table_of_runs(runs: dict[str, dict[str, Any]], folder: Path) -> str:
    """One row a protocol."""
    lines = [
        "| Protocol | Trained on | Validation | Tested on | Seed | "
        + " | ".join([*COLUMNS.values(), "ECE by chance"])
        + " |",
        "|---|--:|--:|--:|--:|" + "--:|" * (len(COLUMNS) + 1),
    ]
    for name, protocol in PROTOCOLS.items():
        run = runs[name]
        sizes = [part["train"] for part in run["parts"].values()]
        trained = str(sizes[0]) if len(sizes) == 1 else f"{min(sizes)}–{max(sizes)}"
        cells = [protocol, trained, run["validation"], run["n"], run["seed"]]
        cells += [percent(run, metric) for metric in COLUMNS]
        cells.append(ece_by_chance(folder / name))
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def ece_by_chance(run: Path) -> str:
    """ECE of a model whose probabilities are true: genres are drawn by them, 1000 times."""
    given = read_predictions(run).probabilities
    up_to = np.cumsum(given / given.sum(axis=1, keepdims=True), axis=1)
    random = np.random.default_rng(0)
    drawn = (up_to < random.random((1000, len(given), 1))).sum(axis=2)
    errors = [calibration_error(truth, given) for truth in drawn]
    return f"{100 * np.mean(errors):.1f} (up to {100 * np.quantile(errors, 0.95):.1f})"


def table_of_rivals(folder: Path) -> str:
    """Accuracy and log loss of each recipe on the two validation sides; dashes where not tried."""
    sides = {"filtered": "Filtered lists", "random": "Random split"}
    lines = [
        "| Recipe | " + " | ".join(f"{side} | log loss" for side in sides.values()) + " |",
        "|---" * (1 + 2 * len(sides)) + "|",
    ]
    for rival, words in RIVALS.items():
        cells = []
        for side in sides:
            run = folder / f"{rival}-{side}"
            if not (run / "metrics.json").is_file():
                cells += ["-", "-"]
                continue
            metrics = json.loads((run / "metrics.json").read_text())
            losses, shipped = log_losses(run), log_losses(folder / f"shipped-{side}")
            cells += [
                f"{percent(metrics, 'accuracy')}, n = {metrics['n']}",
                compared(losses, shipped),
            ]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def overlap(folder: Path) -> str:
    """How many test tracks of the protocols were judged on the sides that a recipe is chosen by."""
    sides = ("filtered", "random")
    judged, tested = (
        {side: _tracks(folder / f"{prefix}-{side}") for side in sides}
        for prefix in ("chosen/shipped", "default")
    )
    return (
        "The first side holds no test track of (c), but "
        f"{len(judged['filtered'] & tested['random'])} of the {len(tested['random'])} of (b); "
        f"the second none of (b), but {len(judged['random'] & tested['filtered'])} of the "
        f"{len(tested['filtered'])} of (c)."
    )


def _tracks(run: Path) -> set[str]:
    return set(read_predictions(run).tracks)


def log_losses(run: Path) -> NDArray[np.float64]:
    """Negative logarithm of what each true genre was given, by track."""
    found = read_predictions(run)
    given = found.probabilities[np.arange(len(found.truth)), found.truth]
    # The table has six digits.
    return -np.log(np.maximum(given, 1e-6))[np.argsort(found.tracks)]


def compared(losses: NDArray[np.float64], shipped: NDArray[np.float64]) -> str:
    """Mean log loss; how much it is above that of the shipped recipe on the same tracks."""
    tracks = range(len(losses))
    if (losses == shipped).all():
        found = mean(losses, tracks)
        return f"{found.value:.2f} ({found.low:.2f}–{found.high:.2f})"
    more = mean(losses - shipped, tracks)
    return f"{losses.mean():.2f}, {more.value:+.2f} ({more.low:+.2f} to {more.high:+.2f})"


def table_of_genres(run: dict[str, Any]) -> str:
    """One row a genre."""
    lines = ["| Genre | Tracks | Precision | Recall (95 %) | F1 |", "|---|--:|--:|--:|--:|"]
    for genre, figures in run["by_genre"].items():
        low, high = figures["recall_interval"]
        lines.append(
            f"| {genre} | {figures['n']} | {100 * figures['precision']:.0f} | "
            f"{100 * figures['recall']:.0f} ({100 * low:.0f}–{100 * high:.0f}) | "
            f"{100 * figures['f1']:.0f} |"
        )
    return "\n".join(lines)


def confusions(run: dict[str, Any]) -> str:
    """The commonest mistakes, in words."""
    genres = list(run["by_genre"])
    counts = [
        (count, genres[row], genres[column])
        for row, line in enumerate(run["confusion"])
        for column, count in enumerate(line)
        if row != column and count
    ]
    worst = sorted(counts, reverse=True)[:6]
    return "\n".join(
        f"- {count} of {run['by_genre'][genre]['n']} {genre} tracks are named {named}"
        for count, genre, named in worst
    )


def folds(run: dict[str, Any]) -> str:
    """Spread over the folds."""
    values = [100 * part["accuracy"] for part in run["parts"].values()]
    return (
        f"By fold: {', '.join(f'{value:.1f}' for value in values)} %. Temperature of the shipped "
        f"bundle: {run['temperature']}."
    )


def headline(runs: dict[str, dict[str, Any]]) -> str:
    """The figure of the README."""
    honest, papers = runs["default"], runs["default-random"]
    return (
        f"**{percent(honest, 'accuracy')} %** of {honest['n']} GTZAN tracks by artists it had not "
        "heard (five-fold cross-validation grouped by artist, 95 % interval, seed "
        f"{honest['seed']}); {percent(papers, 'accuracy')} % of {papers['n']} tracks under the "
        "papers' own, easier protocol (a random split by track)."
    )


def main(folder: Path) -> None:
    """Fill all places."""
    runs = {name: json.loads((folder / name / "metrics.json").read_text()) for name in PROTOCOLS}
    texts = {
        "runs": table_of_runs(runs, folder),
        "genres": table_of_genres(runs["default"]),
        "confusions": confusions(runs["default"]),
        "folds": folds(runs["default"]),
        "headline": headline(runs),
        "chosen": table_of_rivals(folder / "chosen"),
        "overlap": overlap(folder),
    }
    for page in ("README.md", "docs/default-model.md", "docs/model-card.md"):
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        for name, content in texts.items():
            marked = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
            text = marked.sub(lambda m, c=content: f"{m[1]}{c}\n{m[2]}", text)
        path.write_text(text, encoding="utf-8")
    for picture in ("confusion", "curves", "reliability"):
        shutil.copy(folder / "default" / f"{picture}.png", ROOT / "docs" / f"default-{picture}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
