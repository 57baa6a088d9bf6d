"""`genrescope classify`: the genre of every file."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

import typer

from genrescope.audio.files import PassedOver
from genrescope.audio.workers import read_early, safely_for
from genrescope.cli.engines import (
    ADDRESS,
    ENGINE,
    Engine,
    check_local,
    check_whole,
    find_sources,
    ray_engine,
)
from genrescope.cli.files import find, not_music
from genrescope.cli.info import note_outdated
from genrescope.cli.listen import LISTEN, listen_option
from genrescope.cli.models import note_better_model, note_rejected
from genrescope.cli.options import grouped
from genrescope.cli.resume import open_rows
from genrescope.cli.signals import leave
from genrescope.cli.tags import Named, TagOptions
from genrescope.cli.tags import write_tags as apply_tags
from genrescope.cli.terminal import (
    RowFormat,
    error_line,
    message,
    notice,
    progress,
)
from genrescope.cli.training_tracks import note_training_tracks
from genrescope.cli.writers import WRITERS, Writer
from genrescope.errors import FileError
from genrescope.inference import Bundle, Classifier
from genrescope.settings import SHIPPED_MODEL, default_model
from genrescope.wording import counted, was

_ENDINGS = {
    ".csv": RowFormat.csv,
    ".parquet": RowFormat.parquet,
    ".json": RowFormat.json,
    ".jsonl": RowFormat.jsonl,
    ".ndjson": RowFormat.jsonl,
}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".7z")


@grouped
def classify(
    paths: list[str] = typer.Argument(
        ...,
        metavar="PATH",
        help="Files, folders (searched recursively), globs; - reads names from stdin.",
    ),
    format: RowFormat | None = typer.Option(
        None,
        "--format",
        "-f",
        help="How results are written; by default by the ending of --out, or as a table.",
        show_default=False,
    ),
    top: int = typer.Option(1, "--top", min=1, help="Show this many of the most probable genres."),
    timeline: bool = typer.Option(
        False, "--timeline", help="In the table: the sections of the track and their genres."
    ),
    model: str = typer.Option(
        default_model,
        "--model",
        "-m",
        help="A model's name (see genrescope models list), a run folder or a bundle.",
        show_default="the one in use",
    ),
    jobs: int | None = typer.Option(
        None, "--jobs", "-j", min=1, help="Files classified at the same time; by default the cores."
    ),
    engine: Engine = ENGINE,
    address: str | None = ADDRESS,
    listen: str = LISTEN,
    destination: Path | None = typer.Option(
        None,
        "--out",
        "--output",
        "-o",
        callback=not_music,
        help="Write to this file; given again, a command that was stopped continues.",
    ),
    null: bool = typer.Option(
        False, "--null", "-0", help="With -: names end with NUL, as find -print0 writes them."
    ),
    verbose: bool = typer.Option(
        False, "--verbose", "-v", help="Also say which files the model was trained on."
    ),
    write_tags: bool = typer.Option(
        False, "--write-tags", help="Write the genre into the files' own tags."
    ),
    tag_options: TagOptions = TagOptions(),
) -> None:
    """Classify audio files by genre.

    A file that can't be decoded never stops the rest: it is listed at the end.

    With --out the command can be stopped at any point, also by a crash: given again, it
    continues there. Until it is complete, its rows lie next to FILE, in FILE.partial.

    Exit code 1: some files failed. 2: nothing could be classified.

    Examples:

      genrescope classify ~/Music

      genrescope classify song.mp3 --top 3 --timeline

      genrescope classify '~/Music/**/*.flac' --out genres.csv

      find . -name '*.opus' -print0 | genrescope classify - -0 --format jsonl

      genrescope classify ~/Music --write-tags --dry-run

      genrescope classify s3://bucket/music --engine ray --address auto -o genres.parquet
    """
    tag_options.check(write_tags)
    chosen = _row_format(format, destination)
    amount = listen_option(listen)
    check_whole(engine, amount)
    bundle = Bundle.load(model)
    if len(paths) == 1 and amount == "full":
        # It is decoded while ONNX Runtime is imported.
        read_early(paths[0], bundle.manifest.frontend.computed.sample_rate)
    classifier = Classifier(bundle)
    note_outdated(model)
    passed_over = PassedOver()
    found: list[Path | str | FileError] = (
        list(find(paths, null=null, passed_over=passed_over))
        if engine is Engine.local
        else find_sources(paths, null=null, passed_over=passed_over)
    )
    files = [item for item in found if not isinstance(item, FileError)]
    failures = [item for item in found if isinstance(item, FileError)]
    check_local(files, {"--write-tags": write_tags, "--verbose": verbose})
    cluster = ray_engine(engine, address, jobs)
    settings = {
        "model": classifier.manifest.sha256,
        "format": chosen.value,
        "--listen": listen,
        "--top": top,
        "--timeline": timeline,
        "--count": tag_options.count,
    }

    def make_writer(stream: TextIO) -> Writer:
        return WRITERS[chosen.value](stream, classifier.genres, top=top, timeline=timeline)

    total = counted(len(files), "file")
    rejected, interrupted = 0, False
    # The bar comes first: while it is on the screen, what is printed goes above it.
    with (
        safely_for(len(files), jobs) if cluster is None else nullcontext(),
        progress("files") as bar,
        open_rows(destination, settings, make_writer) as rows,
    ):
        # Only what is needed later: the timelines of a whole collection would fill the memory.
        named: list[Named] = [*rows.kept(files)]
        if named:
            notice(f"continues: {len(named)} of {total} {was(len(named))} classified before")
        task = bar.add_task("Classifying", total=len(files), completed=len(named))
        try:
            results = (
                cluster.predict_many(classifier, rows.missing(files))
                if cluster
                else classifier.predict_many(rows.missing(files), jobs=jobs, listen=amount)
            )
            for result in results:
                if isinstance(result, FileError):
                    failures.append(result)
                else:
                    rejected += result.genre is None and result.labels is not None
                    probable = result.tag_values(tag_options.count)
                    named.append((result.path or "", probable))
                    rows.add(result, probable)
                bar.advance(task)
        except KeyboardInterrupt:
            interrupted = True
        rows.finish(files, interrupted=interrupted)
    for failure in failures:
        error_line(str(failure))
    if model == SHIPPED_MODEL:
        if rejected and chosen is RowFormat.table:
            note_rejected(rejected, "genrescope classify --model audioset")
        else:
            note_better_model()
    if passed_over and files:
        notice(str(passed_over))
    if interrupted:
        more = "; the same command continues there" if destination is not None else ""
        notice(f"interrupted: {len(named)} of {total} {was(len(named))} classified{more}")
        leave()
    if verbose:
        decoded = [Path(path) for path, _ in named if path]
        note_training_tracks(classifier.manifest.training_tracks, decoded, jobs=jobs)
    if write_tags:
        labels = classifier.manifest.labels
        known = [*classifier.genres, *(labels.styles if labels else ())]
        failures += apply_tags(named, known, tag_options)
    if failures:
        message("bold", (f"{len(named)} classified, {len(failures)} failed", ""))
        raise typer.Exit(1 if named else 2)


def _row_format(named: RowFormat | None, destination: Path | None) -> RowFormat:
    """How rows are written: as named, by the ending of the file, or as a table.

    Raises
    ------
    typer.BadParameter
        For an ending that says nothing or what the file is not, and for Parquet without a file.
    """
    ending = destination.suffix.lower() if destination is not None else ""
    if ending in _COMPRESSED:
        raise typer.BadParameter(f"--out {destination}: nothing is compressed here, drop {ending}")
    if named is None and ending not in (*_ENDINGS, "", ".txt"):
        endings = ", ".join((*_ENDINGS, ".txt"))
        raise typer.BadParameter(f"--out {destination}: name a format, or end it in {endings}")
    chosen = named or _ENDINGS.get(ending, RowFormat.table)
    if chosen is RowFormat.parquet and destination is None:
        raise typer.BadParameter("Parquet needs --out")
    return chosen
