"""`genrescope scan`: the library of a music collection, made and kept up to date."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from genrescope.audio.addresses import local_path, names_address
from genrescope.cli.engines import ADDRESS, ENGINE, Engine, check_local, check_whole, ray_engine
from genrescope.cli.info import note_outdated
from genrescope.cli.listen import LISTEN, listen_option
from genrescope.cli.models import note_rejected
from genrescope.cli.signals import is_interrupted, leave
from genrescope.cli.terminal import (
    Format,
    argument,
    error_line,
    notice,
    printable,
    progress,
    stdout,
)
from genrescope.errors import FileError, GenrescopeError
from genrescope.inference.listening import Listen, setting_of
from genrescope.settings import default_model
from genrescope.wording import counted, was

if TYPE_CHECKING:
    from genrescope.inference.ray_engine import RayEngine
    from genrescope.library.scan_report import Report
    from genrescope.library.store import Library

# A file that is being copied is not read before it rests.
_REST_MS = 2000
_LONGEST_WAIT_MS = 30_000

LIBRARY = typer.Option(
    None,
    "--library",
    "-l",
    metavar="PLACE",
    help="The library's folder, or s3://, gs://, az://; by default in your data folder.",
)


def scan(
    folders: list[str] = typer.Argument(
        ..., metavar="FOLDER", help="Folders of music, also at s3://, gs:// or https://."
    ),
    library: str | None = LIBRARY,
    model: str = typer.Option(
        default_model,
        "--model",
        "-m",
        help="A model's name (see genrescope models list), a run or a bundle.",
        show_default="the one in use",
    ),
    rescan: bool = typer.Option(
        False, "--rescan", help="Classify everything again; needed to change the model."
    ),
    jobs: int | None = typer.Option(
        None,
        "--jobs",
        "-j",
        min=1,
        help="Files classified at once; by default as many as there are cores.",
    ),
    engine: Engine = ENGINE,
    address: str | None = ADDRESS,
    listen: str = LISTEN,
    yes: bool = typer.Option(
        False,
        "--yes",
        "-y",
        help="Mark tracks of missing or empty folders as deleted (with --rescan: forget them); an "
        "empty address keeps its own.",
    ),
    watch: bool = typer.Option(
        False, "--watch", help="Go on: scan again whenever something in the folders changes."
    ),
    format: Format = typer.Option(
        Format.table, "--format", "-f", help="Output format of the counts."
    ),
) -> None:
    """Build or refresh a library of your music.

    Only new and changed files are classified; moved files are recognised, deleted ones marked. A
    scan can be stopped at any point and continues from there the next time.

    Links to folders are followed, each file is taken once. Folders and files of the system (.git,
    @eaDir, ._*) are passed over. Of a known folder that is missing or empty, it asks whether its
    tracks are deleted; --rescan, which would forget them, asks so of all folders of the library.

    Files at an address are fetched to be read, and unchanged while their size and version are. An
    address that can't be listed, or lists no music, keeps its tracks, and nothing is asked.

    Exit code 1: some files failed. 2: nothing was done.

    Examples:

      genrescope scan ~/Music

      genrescope scan ~/Music /media/usb --library ~/music-library --format json

      genrescope scan ~/Music --watch
    """
    amount = listen_option(listen)
    if watch:
        check_local(map(_local_or_address, folders), {"--watch": True})
    check_whole(engine, amount)
    cluster = ray_engine(engine, address, jobs)
    note_outdated(model)
    if watch:
        for is_first in _changes(folders, library):
            try:
                fresh = rescan and is_first
                _scan_once(folders, library, model, fresh, jobs, amount, yes, format, cluster)
            except GenrescopeError as error:
                if is_first or is_interrupted():
                    raise
                error_line(str(error))  # a disk may be back at the next change
            if is_interrupted():  # a library has dropped the KeyboardInterrupt
                leave()
        return
    if _scan_once(folders, library, model, rescan, jobs, amount, yes, format, cluster):
        raise typer.Exit(1)


def _local_or_address(folder: str) -> Path | str:
    folder = local_path(folder)
    return folder if names_address(folder) else Path(folder)


def _changes(folders: list[str], library: str | None) -> Iterator[bool]:
    """True at once, then False each time that files have changed and rested for some seconds."""
    from genrescope.library.places import default_library, place_of

    try:
        from watchfiles import watch
    except ImportError:
        reason = "--watch needs watchfiles: pip install 'genrescope[app]'"
        raise GenrescopeError(reason) from None
    for folder in map(Path, folders):  # watchfiles would not tell which
        if not folder.is_dir():
            raise FileError(folder, "not a folder" if folder.exists() else "no such folder")
    notice(f"watching {', '.join(printable(str(folder)) for folder in folders)}; Ctrl-C stops it")
    own = os.path.realpath(place_of(library or default_library()))

    def is_music(_: Any, path: str) -> bool:
        # A scan itself writes to the library, which may be in one of the folders.
        return not Path(os.path.realpath(path)).is_relative_to(own)

    is_first = is_due = True
    while True:
        watched = _identities(folders)
        # It watches from here on, also while a scan runs.
        changes = watch(
            *watched,
            watch_filter=is_music,
            debounce=_LONGEST_WAIT_MS,
            step=_REST_MS,
            rust_timeout=_REST_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
        )
        for changed in changes:
            if changed or is_due:
                yield is_first
            is_first = is_due = False
            # No change is reported of a folder that was made, or a disk that was mounted, anew.
            if _identities(folders) != watched:
                is_due = True
                break
        else:
            return  # interrupted


def _identities(folders: list[str]) -> dict[str, tuple[int, int]]:
    """Device and inode of the folders that are there."""
    found = {}
    for folder in folders:
        with suppress(OSError):
            status = Path(folder).stat()
            if stat.S_ISDIR(status.st_mode):
                found[folder] = status.st_dev, status.st_ino
    return found


def _scan_once(
    folders: list[str],
    library: str | None,
    model: str,
    rescan: bool,
    jobs: int | None,
    listen: Listen,
    yes: bool,
    format: Format,
    cluster: RayEngine | None,
) -> bool:
    """Scan and print the outcome; return whether files failed."""
    from genrescope.library.remote import read_on_ray
    from genrescope.library.scan import scan as run_scan
    from genrescope.library.similar import ModelMismatchError

    with progress("files") as bar:
        task = bar.add_task("Finding files", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, description="Classifying", completed=done, total=total)

        def is_gone(folder: Path, count: int) -> bool:
            if yes or not sys.stdin.isatty():
                return yes
            bar.stop()
            tracks = counted(count, "track")
            change = f"Forget its {tracks}?" if rescan else f"Mark its {tracks} as deleted?"
            question = f"{printable(str(folder))} is missing or empty. If its disk is only not "
            return typer.confirm(f"{question}mounted, answer no. {change}", err=True)

        try:
            report = run_scan(
                folders,
                library=library,
                model=model,
                rescan=rescan,
                jobs=jobs,
                listen=listen,
                progress=show,
                waiting=lambda pid: notice(f"waiting for another scan (process {pid})"),
                is_gone=is_gone,
                predict_many=cluster.predict_many if cluster else None,
                read_many=partial(read_on_ray, cluster) if cluster else None,
            )
        except ModelMismatchError as error:
            raise GenrescopeError(f"{error}; --rescan classifies everything again") from None
    if report.restored:
        notice("the library's last write was damaged: it was taken back to its state before that")
    if report.passed_over:
        notice(str(report.passed_over))
    for failure in report.failures:
        error_line(str(failure))
    for amount, count in report.read_in_part.items():
        notice(
            f"{counted(count, 'track')} of the library {was(count)} read with --listen {amount}, "
            f"not {listen}; --rescan reads everything again"
        )
    if report.decided_again and not report.interrupted:
        notice(
            f"{counted(report.decided_again, 'track')} that an older detector had taken for no "
            f"music {was(report.decided_again)} classified again"
        )
    counts = asdict(report.counts)
    if format is Format.json:
        fields = {"library": report.library.place, **counts, "read_in_part": report.read_in_part}
        fields |= {"failed_before": report.failed_before, "interrupted": report.interrupted}
        fields |= {"decided_again": report.decided_again, "unfinished": report.unfinished}
        typer.echo(json.dumps(fields))
    else:
        stdout.print(
            ", ".join(f"{count} {outcome}" for outcome, count in counts.items()), markup=False
        )
        if report.failed_before:
            notice(
                f"{counted(report.failed_before, 'unchanged file')} could not be decoded at an "
                "earlier scan"
            )
        notice(f"library: {printable(report.library.place)}")
        if report.counts.classified and report.library.model.name == "default":
            _note_rejected(report.library)
    if report.unfinished:
        _note_unfinished(report, library, listen)
    if report.interrupted:
        notice("interrupted: files classified until now are stored")
        leave()
    return bool(report.failures)


def _note_unfinished(report: Report, library: str | None, listen: Listen) -> None:
    """Say how many tracks a stopped `--rescan` has left, and what classifies them."""
    count = sum(report.unfinished.values())
    folders = " ".join(argument(folder) for folder in report.unfinished)
    source = report.library.model.source
    options = "" if source == default_model() else f" --model {argument(source)}"
    if library is not None:
        options += f" --library {argument(library)}"
    if listen != "full":
        options += f" --listen {setting_of(listen)}"
    notice(
        f"not classified yet: {counted(count, 'track')} of the library; go on with: "
        f"genrescope scan {folders}{options}"
    )


def _note_rejected(library: Library) -> None:
    """Say how many tracks the default model takes for no music, and what to do about it."""
    from genrescope.library.maintenance import describe

    if rejected := describe(library).no_music:
        note_rejected(rejected, "genrescope scan --rescan --model audioset")
