"""`genrescope geometry`: how the genres lie to each other, layer by layer of a network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from genrescope.cli.laboratory import ARTISTS
from genrescope.cli.terminal import Format, error_line, notice, printable, progress, stderr
from genrescope.datasets import Dataset, Track, group_tracks, read_dataset
from genrescope.errors import BundleError, DatasetError, FileError
from genrescope.inference import Classifier

if TYPE_CHECKING:
    from genrescope.evaluation.geometry import Heard
    from genrescope.evaluation.geometry_page import Geometry

_NEW = "new to it"
_LEARNED = "learned from or tuned on"
_UNKNOWN = "new or not: not known"
_BY_TRACK = "Split by track: the network may have learned from other tracks by the same artists"
_BY_HEART = "tracks that it has learned from cluster by heart, in every layer that has learned"


class Tracks(StrEnum):
    """Which tracks are looked at."""

    test = "test"
    all = "all"


@dataclass(frozen=True)
class _Chosen:
    """Tracks to hear, whether the network has learned from each, and what is to be said."""

    tracks: Sequence[Track]
    sides: Sequence[str]
    split: str = ""
    alarms: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def geometry(
    model: str = typer.Argument(
        ..., metavar="RUN-OR-BUNDLE", help="A run folder, a bundle, or a shipped model (default)."
    ),
    data: Path = typer.Option(
        ...,
        "--data",
        help="A data set: GTZAN, FMA, a folder of genre folders, or a CSV of path, genre.",
    ),
    artists: Path | None = ARTISTS,
    layer: list[str] = typer.Option(
        [], "--layer", metavar="NAME", help="Only this layer; may be repeated."
    ),
    tracks: Tracks | None = typer.Option(
        None,
        "--tracks",
        help="Of a run: the tracks that it was tested on (test, as a rule), or all of them.",
    ),
    out: Path | None = typer.Option(
        None, "--out", "-o", help="Folder for report.html, pictures, CSV and JSON."
    ),
    write: Path | None = typer.Option(
        None, "--write", metavar="FILE", help="Write it into this Markdown page, pictures beside."
    ),
    seed: int = typer.Option(0, "--seed", help="Of t-SNE and of the intervals."),
    format: Format = typer.Option(
        Format.table, "--format", "-f", help="How the figures are written."
    ),
) -> None:
    """Show how the genres lie to each other in a network: which are near, and at what depth.

    Every track is embedded in every layer (networks that learned on from a pretrained one have
    none, immediate, deep and shallow). Shown are mean cosines of all pairs of genres, raw and
    around the mean of all tracks, silhouettes, how often the five nearest tracks name the genre,
    and, with --out or --write, heat maps and t-SNE.

    Of a run only the tracks are heard that it has not learned from: those it has learned from
    cluster by heart. A bundle by itself does not list its tracks: all are heard then.

    --write replaces what stands between <!-- geometry NAME --> and <!-- /geometry NAME -->, NAME
    being the network's.

    Exit code 1: some tracks could not be heard. 2: nothing was done.

    Examples:

      genrescope geometry runs/leiden-table2/mobilenet_v2/30s-clean/learning --data gtzan

      genrescope geometry runs/mine --data gtzan --artists artists.csv --tracks all --out geometry

      genrescope geometry default --data my-music --format json
    """
    from genrescope.evaluation.geometry import measure
    from genrescope.evaluation.geometry_page import Geometry, write_folder, write_page

    classifier, dataset = _load(model), read_dataset(data, artists=artists)
    names = _layers(classifier, layer)
    for line in dataset.notices():
        notice(line)
    chosen = _choose(model, classifier, dataset, tracks)
    places, vectors, failures = _embed(classifier, chosen.tracks, names)
    for failure in failures:
        error_line(str(failure))
    heard = _heard(chosen, places)
    draw = out is not None or write is not None
    found = Geometry(
        model=classifier.manifest.name,
        data=dataset.name,
        command=_spoken(model, classifier, data, artists, layer, tracks, seed),
        split=chosen.split,
        seed=seed,
        heard=heard,
        layers=tuple(measure(vectors.items(), heard, maps=draw, seed=seed)),
        alarms=chosen.alarms,
        notes=(*chosen.notes, *_twins(vectors)),
    )
    # Written first: whoever reads the tables may stop early.
    if out is not None:
        stderr.print(f"Report: {write_folder(found, out)}", markup=False)
    if write is not None:
        for path in write_page(found, write):
            notice(str(path))
    if format is Format.json:
        typer.echo(json.dumps(found.to_dict(), indent=1))
    else:
        _show(found)
    if failures:
        raise typer.Exit(1)


def _load(model: str) -> Classifier:
    folder = Path(model)
    if (folder / "recipe.yaml").is_file() and not (folder / "bundle").is_dir():
        raise BundleError(model, "a run without a bundle: it is not finished")
    return Classifier.load(model)


def _layers(classifier: Classifier, wanted: list[str]) -> list[str]:
    """The layers asked for; else all depths of the network, or its one embedding."""
    there = [name for name in classifier.layers if name != "embedding"] or ["embedding"]
    for name in wanted:
        if name not in classifier.layers:
            known = ", ".join(classifier.layers)
            raise BundleError(classifier.manifest.name, f"no layer {name!r}; there are: {known}")
    return list(dict.fromkeys(wanted)) or there


def _choose(model: str, classifier: Classifier, dataset: Dataset, wanted: Tracks | None) -> _Chosen:
    if (Path(model) / "recipe.yaml").is_file():
        return _of_run(Path(model), dataset, wanted or Tracks.test)
    if wanted is Tracks.test:
        raise BundleError(
            model, "does not say which tracks are new to it; name its run, or --tracks all"
        )
    learned = (classifier.manifest.provenance.get("data") or {}).get("name")
    alarm = f"The network has learned from {learned}, perhaps from these tracks: {_BY_HEART}."
    return _Chosen(
        dataset.tracks,
        [_UNKNOWN] * len(dataset.tracks),
        alarms=(alarm,) if learned == dataset.name else (),
    )


def _of_run(run: Path, dataset: Dataset, wanted: Tracks) -> _Chosen:
    """A run's tracks: known by id and genre from its predictions."""
    from genrescope.evaluation.beside import judged_how
    from genrescope.evaluation.finished import read_finished
    from genrescope.evaluation.predictions import read_predictions

    finished, judged = read_finished(run), read_predictions(run)
    if finished.leaked:
        raise FileError(run, "LEAKED: segments of every track were learned, none is new to it")
    split = judged_how(finished)
    named = zip(judged.tracks, (judged.genres[g] for g in judged.truth), strict=True)
    # Of folds, the network in the bundle is the last one, which learned from every track.
    unseen = set(named) if set(judged.parts) == {"only"} else set()
    if wanted is Tracks.test and not unseen:
        raise FileError(run, f"has learned from all of its tracks ({split}): see --tracks all")
    sides = [_NEW if (t.id, t.genre) in unseen else _LEARNED for t in dataset.tracks]
    new = [track for track, side in zip(dataset.tracks, sides, strict=True) if side == _NEW]
    if unseen and not new:
        raise DatasetError(
            f"{dataset.name}: holds none of the tracks that {run} was tested on; "
            f"for other music name its bundle, {run / 'bundle'}"
        )
    if missing := len(unseen) - len(new):
        notice(f"{missing} of the {len(unseen)} tracks that it was tested on are not there")
    random = new and finished.split.get("kind") == "random"
    notes = (f"{_BY_TRACK}.",) if random and not finished.split.get("by_artist") else ()
    if wanted is Tracks.test:
        note = f"None of these tracks was learned from or tuned on: {_BY_HEART}."
        return _Chosen(new, [_NEW] * len(new), split, notes=(note, *notes))
    alarm = f"{len(sides) - len(new)} of these {len(sides)} tracks are not new to it: {_BY_HEART}."
    # Those that are new come first: figures and legend show them first.
    order = sorted(range(len(sides)), key=lambda place: sides[place] != _NEW)
    ordered = [dataset.tracks[i] for i in order]
    return _Chosen(ordered, [sides[i] for i in order], split, (alarm,), notes)


def _embed(
    classifier: Classifier, tracks: Sequence[Track], layers: Sequence[str]
) -> tuple[list[int], dict[str, NDArray[np.float32]], list[FileError]]:
    """Places of the tracks that could be heard, each layer's vectors `[heard, size]`, failures."""
    sizes = classifier.layers
    # Filled in place: the largest layer of a large data set is there once.
    vectors = {name: np.zeros((len(tracks), sizes[name]), np.float32) for name in layers}
    heard: list[int] = []
    failures: list[FileError] = []
    listening = closing(classifier.embed_many((track.path for track in tracks), layers))
    with progress("tracks") as bar, listening as results:
        task = bar.add_task("Embedding", total=len(tracks))
        for place, (track, found) in enumerate(zip(tracks, results, strict=True)):
            if isinstance(found, FileError):
                failures.append(found)
            # Where no segment can be heard, all is zero.
            elif not any(values.any() for values in found.values()):
                failures.append(FileError(track.path, "digital silence"))
            else:
                for name, values in found.items():
                    vectors[name][len(heard)] = values
                heard.append(place)
            bar.advance(task)
    return heard, {name: values[: len(heard)] for name, values in vectors.items()}, failures


def _heard(chosen: _Chosen, places: Sequence[int]) -> Heard:
    from genrescope.evaluation.geometry import Heard

    tracks = [chosen.tracks[place] for place in places]
    # Of two copies of a recording often one alone is in the table of artists.
    copies = group_tracks(tracks, by_artist=False)
    artist = {copies[track.id]: track.artist for track in tracks if track.artist}
    return Heard(
        ids=tuple(track.id for track in tracks),
        genres=tuple(track.genre for track in tracks),
        sides=tuple(chosen.sides[place] for place in places),
        groups=tuple(
            f"artist {artist[copies[t.id]]}" if copies[t.id] in artist else f"track {copies[t.id]}"
            for t in tracks
        ),
        artists_known=bool(artist),
    )


def _twins(vectors: dict[str, NDArray[np.float32]]) -> list[str]:
    """A sentence for each two layers that are one and the same."""
    names = list(vectors)
    return [
        f"{first} and {second} are the same numbers: this network has no layer between them."
        for place, first in enumerate(names)
        for second in names[place + 1 :]
        if np.array_equal(vectors[first], vectors[second])
    ]


def _spoken(
    model: str,
    classifier: Classifier,
    data: Path,
    artists: Path | None,
    layers: Sequence[str],
    tracks: Tracks | None,
    seed: int,
) -> str:
    """The command, for whoever reads the figures; without where files lie on this machine."""
    run = (Path(model) / "recipe.yaml").is_file()
    named = f"runs/{classifier.manifest.name}" if run else Path(model).name
    words = ["genrescope geometry", named, f"--data {data.resolve().name}"]
    words += [f"--artists {artists.name}"] if artists else []
    words += [f"--layer {name}" for name in layers]
    words += [f"--tracks {tracks.value}"] if tracks else []
    return " ".join([*words, f"--seed {seed}"])


def _show(found: Geometry) -> None:
    from genrescope.evaluation.geometry_page import figures_table, nearest_table, said

    console = Console(highlight=False)
    for alarm in found.alarms:
        console.print(Text(printable(alarm), style="bold red"))
    for line in [*said(found), *found.notes]:
        console.print(Text(printable(line)))
    for side, n in found.sides.items():
        console.print(Text(f"\n{n} tracks, {side}", style="bold"))
        console.print(_table(*figures_table(found, side=side), 2))
    console.print(Text("Which genre is next to each, by the mean centred cosine", style="bold"))
    columns, rows = nearest_table(found)
    console.print(_table(columns, rows, 1))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], texts: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < texts else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table
