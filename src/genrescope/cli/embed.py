"""`genrescope embed`: embeddings of files in one table."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from genrescope.audio.files import PassedOver
from genrescope.cli.engines import ADDRESS, ENGINE, Engine, find_sources, ray_engine
from genrescope.cli.files import find, not_music
from genrescope.cli.signals import leave
from genrescope.cli.terminal import echo, error_line, notice, printable, progress
from genrescope.errors import FileError
from genrescope.wording import counted

if TYPE_CHECKING:
    from genrescope.encoders.engine import EmbeddingModel


class Pool(StrEnum):
    """How the segments of a track are pooled."""

    none = "none"
    mean = "mean"
    mean_std_max = "mean_std_max"


def embed(
    paths: list[str] = typer.Argument(
        ...,
        metavar="PATH",
        help="Files, folders (searched through), globs; - reads names from stdin.",
    ),
    out: Path = typer.Option(
        ...,
        "--out",
        "--output",
        "-o",
        metavar="FILE",
        callback=not_music,
        help="The table: NAME.parquet or NAME.npz.",
    ),
    encoder: str | None = typer.Option(
        None, "--encoder", "-e", metavar="NAME", help="One of genrescope encoders list."
    ),
    model: str | None = typer.Option(
        None, "--model", "-m", help="Instead of an encoder: a model's name, a run or a bundle."
    ),
    layer: str | None = typer.Option(
        None, "--layer", help="Where in the network; by default the encoder's or bundle's own."
    ),
    pool: Pool = typer.Option(
        Pool.none, "--pool", help="none: a row for each segment; the others: a row for each track."
    ),
    weights: Path | None = typer.Option(
        None,
        "--weights",
        metavar="PATH",
        help="With --encoder: a file of its weights, or a folder with all of them.",
    ),
    engine: Engine = ENGINE,
    address: str | None = ADDRESS,
    batch_size: int = typer.Option(
        32, "--batch-size", min=1, help="Segments that the network sees at once."
    ),
    jobs: int | None = typer.Option(
        None, "--jobs", "-j", min=1, help="Threads; as many as cores, at most 8."
    ),
) -> None:
    """Write the embeddings of files into a table, by a pretrained encoder or a bundle.

    A row has the file's path, start and end in seconds, and the embedding. The command can be
    stopped at any point: given again, it continues where it stopped, and files that did not change
    are not computed twice.

    Exit code 1: some files could not be embedded. 2: nothing was done.

    Examples:

      genrescope embed ~/Music --encoder musicnn --out music.npz

      genrescope embed ~/Music -e vggish --layer fc2 --pool mean --out music.parquet

      genrescope embed song.mp3 --model default --out song.npz
    """
    from genrescope.encoders import embed_files

    if (encoder is None) == (model is None):
        raise typer.BadParameter("give either --encoder or --model (for example --model default)")
    if model is not None and weights is not None:
        raise typer.BadParameter("--weights belongs to --encoder; a bundle has its own")
    chosen = _model(encoder, model, layer, weights)
    cluster = ray_engine(engine, address, jobs)
    make_model = partial(_model, encoder, model, layer, weights)
    passed_over = PassedOver()
    found: list[Path | str | FileError] = (
        list(find(paths, passed_over=passed_over))
        if cluster is None
        else find_sources(paths, null=False, passed_over=passed_over)
    )
    failures = [each for each in found if isinstance(each, FileError)]
    files = [each for each in found if not isinstance(each, FileError)]
    for failure in failures:
        error_line(str(failure))
    try:
        with progress("files") as bar:
            task = bar.add_task("Embedding", total=len(files))
            report = embed_files(
                files,
                out,
                chosen,
                pool=pool.value,
                batch_size=batch_size,
                jobs=jobs,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
                failed=lambda failure: error_line(str(failure)),
                embed_many=partial(cluster.embed_many, make_model) if cluster else None,
            )
    except KeyboardInterrupt:
        notice("interrupted: what was computed is kept, and the same command continues there")
        leave()
    if not report.tracks:
        raise typer.Exit(2)
    kept = report.tracks - report.computed
    line = f"{counted(report.tracks, 'track')}, {counted(report.rows, 'row')}, "
    line += f"{report.computed} computed, {kept} kept"
    echo(f"{line}: {printable(str(out))}")
    if failures or report.failures:
        raise typer.Exit(1)


def _model(
    encoder: str | None, model: str | None, layer: str | None, weights: Path | None
) -> EmbeddingModel[Any]:
    if encoder is not None:
        from genrescope.encoders import encoder_layer, make_encoder

        made = make_encoder(encoder, weights)
        return encoder_layer(made, made.checked_layer(layer))
    from genrescope.inference import bundle_layer

    return bundle_layer(model or "default", layer)
