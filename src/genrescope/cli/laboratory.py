"""What `train` and `tune` share: their data, and what they show while they work."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.progress import Progress, TaskID

from genrescope.cli.terminal import error_line, notice
from genrescope.datasets import Track, read_dataset, read_table, with_artists
from genrescope.errors import DatasetError, RecipeError
from genrescope.features import is_stored_spectrogram
from genrescope.features.spectrogram import STORED_BINS, STORED_HOP_LENGTH

if TYPE_CHECKING:
    from genrescope.training.recipe import Recipe
    from genrescope.training.run import Reporter

DATA = typer.Option(
    None,
    "--data",
    help="A data set: GTZAN, FMA, a folder of genre folders, or a CSV of path, genre.",
)
FEATURES = typer.Option(
    [], "--features", help="Stored features of the tracks (.npz or .csv); may be repeated."
)
ARTISTS = typer.Option(None, "--artists", help="CSV with the columns track and artist.")
TEACHER = typer.Option(
    [],
    "--teacher",
    help="Activations of a larger network to learn from (.npz); may be repeated.",
)
CHANGES = typer.Option(
    [], "--set", metavar="KEY=VALUE", help="Change a setting of the recipe; may be repeated."
)


@dataclass(frozen=True)
class Data:
    """What a run learns from; `command` names it all, without where it lies."""

    name: str
    command: str
    tracks: Sequence[Track]
    vectors: Mapping[str, Any]
    teacher: Mapping[str, Any] | None

    @classmethod
    def read(
        cls,
        data: Path | None,
        features: list[Path],
        artists: Path | None,
        teacher: list[Path],
    ) -> Data:
        """Read what the options name.

        Raises
        ------
        DatasetError
            When nothing is named, or something can't be read.
        """
        table = read_table(features) if features else None
        name = ", ".join(path.resolve().name for path in ([data] if data else features))
        if data is not None:
            dataset = read_dataset(data)
            for line in dataset.notices():
                notice(line)
            name, tracks = dataset.name, dataset.tracks
        elif table is not None:
            tracks = table.tracks()
        else:
            raise DatasetError("--data (or --features that name genres) is needed")
        if artists is not None:
            tracks = with_artists(tracks, artists)
        targets = None
        if teacher:
            from genrescope.training.teacher import load_teacher

            targets = load_teacher(teacher)
        given = {"--data": [data] if data else [], "--features": features}
        given |= {"--artists": [artists] if artists else [], "--teacher": teacher}
        command = " ".join(
            f"{option} {path.resolve().name}" for option, paths in given.items() for path in paths
        )
        return cls(name, command, tracks, table.vectors if table else {}, targets)

    def fitting(self, recipe: str, changes: list[str]) -> Recipe:
        """A recipe for these data.

        Stored spectrograms have a hop of their own; an artist can only be kept on one side where
        artists are known.
        """
        from genrescope.training.recipe import load_recipe

        plan = load_recipe(recipe, changes)
        stored = plan.feature["kind"] != "stored" and any(
            is_stored_spectrogram(track.path) for track in self.tracks
        )
        if stored and plan.frontend.computed.hop_length != STORED_HOP_LENGTH:
            notice(f"stored spectrograms: hop_length {STORED_HOP_LENGTH} instead of the recipe's")
            own = {"hop_length": STORED_HOP_LENGTH, "center": False, "n_bins": STORED_BINS}
            changes = [f"feature.{key}={json.dumps(value)}" for key, value in own.items()] + changes
            plan = load_recipe(recipe, changes)
        if plan.split.by_artist and not any(track.artist for track in self.tracks):
            notice("no artists known (--artists): split by track alone, which flatters the figures")
            plan = load_recipe(recipe, [*changes, "split.by_artist=false"])
        if plan.taught and self.teacher is None:
            notice("no --teacher: what the recipe would learn from one is left out")
        elif self.teacher and not any(own.training.teacher_weight for own in plan.networks):
            notice("--teacher: the recipe gives it no weight (training.teacher_weight)")
        return plan


def need_laboratory() -> None:
    """Say what to install where training can't be imported.

    Raises
    ------
    RecipeError
        Names what is missing.
    """
    try:
        import lightning  # noqa: F401
        import matplotlib  # noqa: F401
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        raise RecipeError(
            f"training needs {error.name}: pip install 'genrescope[train]' (see the README)"
        ) from None


def reporter(bar: Progress) -> Reporter:
    """Bars on a terminal; now and then a line where there is none."""
    from genrescope.training.run import Reporter

    tasks: dict[str, TaskID] = {}

    class Terminal(Reporter):
        """Shows a run on the terminal."""

        def features(self, done: int, total: int) -> None:
            if "features" not in tasks:
                tasks["features"] = bar.add_task("Reading tracks")
            bar.update(tasks["features"], completed=done, total=total)

        def embeddings(self, done: int, total: int) -> None:
            if "embeddings" not in tasks:
                tasks["embeddings"] = bar.add_task("Embedding tracks")
            bar.update(tasks["embeddings"], completed=done, total=total)

        def epoch(
            self, part: str, epoch: int, epochs: int, loss: float, accuracy: float | None
        ) -> None:
            if part not in tasks:
                tasks[part] = bar.add_task(part)
            seen = "" if accuracy is None else f", {100 * accuracy:.0f} % of unseen segments"
            state = f"{part}, loss {loss:.3f}"
            bar.update(tasks[part], completed=epoch, total=epochs, description=state)
            if not sys.stderr.isatty() and epoch % max(1, epochs // 10) == 0:
                notice(f"{part}: epoch {epoch} of {epochs}, loss {loss:.3f}{seen}")

        def left_out(self, problem: str) -> None:
            error_line(f"left out: {problem}")

    return Terminal()
