"""Write the scores of finished runs into the documentation.

    python tools/figures.py runs

reads `metrics.json` of the runs `default`, `default-random` and `default-filtered` in that folder
and replaces the text between the markers `<!-- NAME -->` and `<!-- /NAME -->` in the README, in
docs/default-model.md and in docs/model-card.md. No figure there is typed by hand.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.evaluation.bootstrap import mean
from genrescope.evaluation.formatting import interval
from genrescope.evaluation.metrics import confidence_bins
from genrescope.evaluation.predictions import read_predictions
from genrescope.evaluation.run_result import RunResult

ROOT = Path(__file__).resolve().parents[1]
PROTOCOLS = {
    "default": "(a) five-fold cross-validation, grouped by artist",
    "default-random": "(b) random 60/20/20 by track, as the papers do",
    "default-filtered": "(c) fault-filtered lists, trained on the training list",
}
# The candidates that the recipe was chosen from; runs in `chosen/NAME-random` and
# `chosen/NAME-filtered`.
CANDIDATES = {
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


def percent(run: RunResult, name: str) -> str:
    """A score with its interval, in percent."""
    return f"{run.percent(name):.1f} ({interval(run.interval.get(name), '–', unit='')})"


def table_of_runs(runs: dict[str, RunResult], folder: Path) -> str:
    """One row for each protocol."""
    lines = [
        "| Protocol | Trained on | Validation | Tested on | Seed | "
        + " | ".join([*COLUMNS.values(), "ECE by chance"])
        + " |",
        "|---|--:|--:|--:|--:|" + "--:|" * (len(COLUMNS) + 1),
    ]
    for name, protocol in PROTOCOLS.items():
        run = runs[name]
        sizes = [fold.train_tracks for fold in run.folds.values()]
        trained = str(sizes[0]) if len(sizes) == 1 else f"{min(sizes)}–{max(sizes)}"
        cells = [protocol, trained, run.validation_tracks, run.n, run.seed]
        cells += [percent(run, metric) for metric in COLUMNS]
        cells.append(ece_by_chance(folder / name))
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def ece_by_chance(run: Path) -> str:
    """ECE of a perfectly calibrated model: genres are drawn from the probabilities, 1000 times."""
    probabilities = read_predictions(run).probabilities
    up_to = np.cumsum(probabilities / probabilities.sum(axis=1, keepdims=True), axis=1)
    random = np.random.default_rng(0)
    drawn = (up_to < random.random((1000, len(probabilities), 1))).sum(axis=2)
    errors = [float(confidence_bins(truth, probabilities).error) for truth in drawn]
    return f"{100 * np.mean(errors):.1f} (up to {100 * np.quantile(errors, 0.95):.1f})"


def table_of_candidates(folder: Path) -> str:
    """Accuracy and log loss of each recipe on two validation subsets; dashes where not tried."""
    subsets = {"filtered": "Filtered lists", "random": "Random split"}
    lines = [
        "| Recipe | " + " | ".join(f"{subset} | log loss" for subset in subsets.values()) + " |",
        "|---" * (1 + 2 * len(subsets)) + "|",
    ]
    for candidate, words in CANDIDATES.items():
        cells = []
        for subset in subsets:
            run = folder / f"{candidate}-{subset}"
            if not (run / "metrics.json").is_file():
                cells += ["-", "-"]
                continue
            result = RunResult.read(run)
            losses, shipped = log_losses(run), log_losses(folder / f"shipped-{subset}")
            accuracy = f"{percent(result, 'accuracy')}, n = {result.n}"
            cells += [accuracy, compared(losses, shipped)]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def overlap(folder: Path) -> str:
    """How many test tracks of the protocols are in the subsets that the recipe is chosen on."""
    subsets = ("filtered", "random")
    chosen, tested = (
        {subset: _tracks(folder / f"{prefix}-{subset}") for subset in subsets}
        for prefix in ("chosen/shipped", "default")
    )
    return (
        "The first subset has no test track of (c), but "
        f"{len(chosen['filtered'] & tested['random'])} of the {len(tested['random'])} of (b); "
        f"the second none of (b), but {len(chosen['random'] & tested['filtered'])} of the "
        f"{len(tested['filtered'])} of (c)."
    )


def _tracks(run: Path) -> set[str]:
    return set(read_predictions(run).tracks)


def log_losses(run: Path) -> NDArray[np.float64]:
    """Negative log-likelihood of each true genre, by track."""
    found = read_predictions(run)
    likelihood = found.probabilities[np.arange(len(found.truth)), found.truth]
    # The table has six digits.
    return -np.log(np.maximum(likelihood, 1e-6))[np.argsort(found.tracks)]


def compared(losses: NDArray[np.float64], shipped: NDArray[np.float64]) -> str:
    """Mean log loss, and its difference to that of the shipped recipe on the same tracks."""
    tracks = range(len(losses))
    if (losses == shipped).all():
        found = mean(losses, tracks)
        return f"{found.value:.2f} ({found.low:.2f}–{found.high:.2f})"
    more = mean(losses - shipped, tracks)
    return f"{losses.mean():.2f}, {more.value:+.2f} ({more.low:+.2f} to {more.high:+.2f})"


def table_of_genres(run: RunResult) -> str:
    """One row for each genre."""
    lines = ["| Genre | Tracks | Precision | Recall (95 %) | F1 |", "|---|--:|--:|--:|--:|"]
    for genre, scores in run.by_genre.items():
        recall = interval(scores.recall_interval, "–", digits=0, unit="")
        lines.append(
            f"| {genre} | {scores.n} | {100 * scores.precision:.0f} | "
            f"{100 * scores.recall:.0f} ({recall}) | {100 * scores.f1:.0f} |"
        )
    return "\n".join(lines)


def confusions(run: RunResult) -> str:
    """The most frequent confusions, in words."""
    genres = list(run.by_genre)
    counts = [
        (count, genres[row], genres[column])
        for row, line in enumerate(run.confusion)
        for column, count in enumerate(line)
        if row != column and count
    ]
    worst = sorted(counts, reverse=True)[:6]
    return "\n".join(
        f"- {count} of {run.by_genre[genre].n} {genre} tracks are predicted as {predicted}"
        for count, genre, predicted in worst
    )


def folds(run: RunResult) -> str:
    """Accuracy of each fold."""
    values = [100 * accuracy for accuracy in run.fold_accuracies.values()]
    return (
        f"By fold: {', '.join(f'{value:.1f}' for value in values)} %. Temperature of the shipped "
        f"bundle: {run.temperature}."
    )


def headline(runs: dict[str, RunResult]) -> str:
    """The sentence of the README."""
    by_artist, by_track = runs["default"], runs["default-random"]
    return (
        f"**{percent(by_artist, 'accuracy')} %** of {by_artist.n} GTZAN tracks by artists that it "
        "was not trained on (five-fold cross-validation grouped by artist, 95 % interval, seed "
        f"{by_artist.seed}); {percent(by_track, 'accuracy')} % of {by_track.n} tracks under the "
        "papers' own, easier protocol (a random split by track)."
    )


def main(folder: Path) -> None:
    """Write all texts between their markers."""
    runs = {name: RunResult.read(folder / name) for name in PROTOCOLS}
    texts = {
        "runs": table_of_runs(runs, folder),
        "genres": table_of_genres(runs["default"]),
        "confusions": confusions(runs["default"]),
        "folds": folds(runs["default"]),
        "headline": headline(runs),
        "chosen": table_of_candidates(folder / "chosen"),
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
