"""Build or refresh a library: only files that are new or have changed are classified.

Conventions
-----------
A file is *unchanged* where its size and modification time are those of its row. Any other file is
compared by content: where the same audio is known, its prediction is taken over. It is *moved*
where the known file is gone, else *recognised*: a copy, a file with other tags, or one that came
back. A file at an address is classified again even so, for its content is known only once it is
fetched; it is moved or classified, never recognised, unless it came back as it was. Results are
written every few seconds, so a kill at any point loses no more than those.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.audio.files import identity
from genrescope.audio.workers import safely_for
from genrescope.errors import AudioError, FileError, UnreadableError
from genrescope.inference import Classifier, Prediction
from genrescope.inference.listening import Listen
from genrescope.library.content import content_of
from genrescope.library.files import (
    Found,
    Tags,
    album_artist_of,
    classified,
    described,
    is_as_found,
)
from genrescope.library.index import refresh
from genrescope.library.known import KnownTracks
from genrescope.library.places import (
    Place,
    default_library,
    locked,
    place_of,
)
from genrescope.library.remote import ReadMany, read_here
from genrescope.library.rows import Entry
from genrescope.library.scan_report import Report, not_classified, read_otherwise
from genrescope.library.scan_start import (
    check_missing,
    check_rescan,
    known_roots,
    knows,
    made_anew,
    model_of,
    open_or_create,
    outermost,
    restored,
)
from genrescope.library.search import Root, Search
from genrescope.library.store import Library
from genrescope.wording import counted, valid_text

_SECONDS_BETWEEN_WRITES = 3.0

PredictMany = Callable[[Classifier, Iterable[Path]], Iterator[Prediction | FileError]]
"""A function that classifies files in their order, such as `RayEngine.predict_many`."""


def _no(*_: Any) -> bool:
    """The default answer."""
    return False


def _ignore(*_: Any) -> None:
    """The default callback."""


def scan(
    folders: Sequence[str | os.PathLike[str]],
    *,
    library: Place | None = None,
    model: str = "default",
    rescan: bool = False,
    jobs: int | None = None,
    listen: Listen = "full",
    progress: Callable[[int, int], None] = _ignore,
    waiting: Callable[[str], None] = _ignore,
    is_gone: Callable[[Path, int], bool] = _no,
    predict_many: PredictMany | None = None,
    read_many: ReadMany | None = None,
) -> Report:
    """Bring a library up to date with folders of music.

    Any number of scans may be started at once: one works, the others wait for it.

    Parameters
    ----------
    folders
        Folders of music, or addresses (`s3://bucket/music`). Rows of other folders are left as they
        are.
    library
        The library's folder or address, made where it is missing; None for the default place.
    model
        A shipped model or a bundle.
    rescan
        Classify everything again, in these and in all folders that were scanned before; the only
        way to change the model. Tracks that it has not reached when it is stopped stay in the
        library; the next scan of their folder classifies them.
    jobs
        Files classified at once; as many as there are cores by default.
    listen
        How much of each file is read, see `Classifier.predict`.
    progress
        Called with the number of files that are done, and of all that there is something to do for:
        they are new or have changed, or lack tags that older versions did not read.
    waiting
        Called with the process id of another scan that has to be waited for.
    is_gone
        Asked about a folder that is missing or empty, with the number of its tracks in the library:
        whether their files are gone, so that they are marked as deleted. Otherwise they are kept,
        for their disk may only not be mounted; then `rescan`, which would lose them, is refused.
    predict_many
        What classifies the files; by default threads of this process, `Classifier.predict_many`.
    read_many
        What reads the files at addresses; by default threads of this process.

    Raises
    ------
    FileError
        A folder is missing, there is no music in the folders, or `rescan` would lose tracks whose
        files can't be seen.
    ModelMismatchError
        The library was made with another model, and `rescan` is off.
    LibraryError
        The library is damaged or can't be written.
    """
    roots = [Root.of(folder) for folder in folders]
    place = place_of(library or default_library())
    missing = [root.path for root in roots if not root.address and not root.path.is_dir()]
    if missing:
        check_missing(missing, place, is_gone)
    classifier = Classifier.load(model)
    with locked(place, waiting):
        present = model_of(classifier, model)
        taken_back = not rescan and restored(place)
        if rescan:
            roots += known_roots(place)
        search = Search.of([root for root in roots if root.path not in missing])
        if not search.found and not knows(place, roots):
            if search.errors and all(root.address for root in roots):
                raise search.errors[0]  # no such bucket, say
            if not search.errors:
                over = f"; {search.passed_over}" if search.passed_over else ""
                raise FileError(str(roots[0]), f"no music files in this folder{over}")
        if rescan:
            check_rescan(place, search, roots, missing, is_gone)
        opened = (
            made_anew(place, present, search, roots) if rescan else open_or_create(place, present)
        )
        work = _Scan(opened, classifier, roots, progress)
        work.report.restored = taken_back
        work.take(search)
        work.keep_unmounted(is_gone, missing)
        try:
            work.run(jobs, listen, predict_many, read_many)
        except KeyboardInterrupt:
            work.report.interrupted = True
            work.flush()
        work.report.unfinished = not_classified(opened)
        return work.report


class _Scan:
    """A running scan: known rows, files to classify, rows to write."""

    def __init__(
        self,
        library: Library,
        classifier: Classifier,
        roots: list[Root],
        progress: Callable[[int, int], None],
    ) -> None:
        self.library, self.classifier, self.progress = library, classifier, progress
        self.scanned = roots
        self.roots = [root.path for root in roots]
        self.detector = classifier.manifest.detector
        self.report = Report(library)
        self.known = KnownTracks(library.entries(), self.roots, self.detector)
        self.pending: deque[tuple[Found, str]] = deque()
        self.ready: list[Entry] = []
        self.written = time.monotonic()
        self.done = self.total = 0
        self.incomplete: list[Found] = []  # unchanged; an older version has not read all tags

    def take(self, search: Search) -> None:
        """Take over the files that a search found, and its errors; of hard links, one name each.

        A name that the library knows already is preferred, then one that leads through no link.
        """
        by_known = sorted(search.found.values(), key=lambda each: each.file not in self.known.rows)
        names: dict[tuple[int, int] | Path, Found] = {}
        for each in by_known:
            key = identity(each.file)
            kept = names.setdefault(key, each)
            if kept is each:
                continue
            is_known = kept.file in self.known.rows
            if not is_known and _is_by_link(kept.file) > _is_by_link(each.file):
                names[key], each = each, kept
            search.passed_over.note("repeated", each.file)
        self.known.found = {each.file: each for each in names.values()}
        self.report.passed_over = search.passed_over
        for error in search.errors:
            self.report.fail(error)
        self.known.kept += [Path(error.path) for error in search.errors]

    def keep_unmounted(self, is_gone: Callable[[Path, int], bool], missing: Sequence[Path]) -> None:
        """Keep the rows of folders that are empty where they were not, unless they are gone."""
        for root in self.roots:
            tracks = self.known.rows.values()
            living = sum(not e.deleted and e.file.is_relative_to(root) for e in tracks)
            is_empty = not any(file.is_relative_to(root) for file in self.known.found)
            if not living or not is_empty or root in missing or root in self.known.kept:
                continue
            if not is_gone(root, living):
                self.known.kept.append(root)
                kept = f"the library keeps {counted(living, 'track')} from it"
                self.report.fail(FileError(root, f"no music files in this folder, but {kept}"))

    def run(
        self,
        jobs: int | None,
        listen: Listen,
        predict_many: PredictMany | None,
        read_many: ReadMany | None,
    ) -> None:
        """Classify the new files, write rows, and mark those of deleted files."""
        changed = [each for each in self.known.found.values() if not self._is_unchanged(each)]
        self.total = len(changed) + len(self.incomplete)
        self.progress(0, self.total)
        completed = self._complete()
        unknown = self._unknown(each for each in changed if not each.address)
        if predict_many is None:
            predict_many = partial(Classifier.predict_many, jobs=jobs, listen=listen)
            workers = safely_for(len(changed), jobs)
        else:
            workers = nullcontext()
        with workers:
            for result in predict_many(self.classifier, unknown):
                self._settle(*self.pending.popleft(), result)
        if remote := [each for each in changed if each.address]:
            self._settle_remote(remote, jobs, listen, read_many)
        self.flush()
        self._mark_deleted()
        self.report.read_in_part = read_otherwise(self.library, listen)
        counts = self.report.counts
        if len(self.known.found) > counts.unchanged or counts.deleted or completed:
            self.library.compact()
        refresh(self.library)

    def _is_unchanged(self, found: Found) -> bool:
        entry = self.known.rows.get(found.file)
        same = entry and (entry.size, entry.mtime_ns) == (found.size, found.mtime_ns)
        if entry is None or not same:
            return False
        if not self.known.is_settled(entry):
            self.report.decided_again += self.known.is_rejected_before(entry)
            return False
        if entry.deleted:  # it came back as it was
            self._take(replace(entry, deleted=False, inode=found.inode), "recognised")
            return True
        if entry.album_artist is None and not found.address:
            self.incomplete.append(found)
        self.report.counts.unchanged += 1
        self.report.failed_before += entry.problem is not None
        return True

    def _complete(self) -> int:
        """Read what is missing in rows of older versions; return of how many it was read."""
        completed = 0
        for found in self.incomplete:
            known = album_artist_of(found.file)
            if known is not None:  # else the next scan tries again
                self.ready.append(replace(self.known.rows[found.file], album_artist=known))
                completed += 1
            self._advance()
        return completed

    def _unknown(self, changed: Iterable[Found]) -> Iterator[Path]:
        """The files whose audio is not known; those whose audio is known are settled here."""
        for found in changed:
            try:
                content = content_of(found.file)
            except FileError as error:  # it is tried again at the next scan
                self.report.fail(error)
                self.ready += self.known.still_unclassified(error, found.file)
                self._advance()
                continue
            if self.known.by_content[content]:
                self._recognise(found, content)
                self._advance()
            else:
                self.pending.append((found, content))
                yield found.file

    def _recognise(self, found: Found, content: str) -> None:
        """Take over the prediction of the same audio."""
        same = self.known.by_content[content]
        before = self.known.moved_from(content, found)
        now = described(found, self._root_of(found.file), content)
        self._take(
            replace(before if before in same else same[0], **now, deleted=False),
            "recognised" if before is None else "moved",
        )

    def _settle_remote(
        self,
        remote: Sequence[Found],
        jobs: int | None,
        listen: Listen,
        read_many: ReadMany | None,
    ) -> None:
        """Turn what files at addresses hold into rows."""
        addresses = [found.address for found in remote]
        with safely_for(len(remote), jobs):
            results = (
                read_here(self.classifier, addresses, jobs=jobs, listen=listen)
                if read_many is None
                else read_many(self.classifier, addresses)
            )
            for found, read in zip(remote, results, strict=True):
                if isinstance(read, FileError):
                    self._settle(found, "", read)
                else:
                    self._settle(found, read.content, read.result, read.tags)

    def _settle(
        self,
        found: Found,
        content: str,
        result: Prediction | FileError,
        tags: Tags | None = None,
    ) -> None:
        """Turn the classifier's result into a row; `tags` are read where they are not given."""
        if not isinstance(result, UnreadableError) and not is_as_found(found):
            result = FileError(found.address or found.file, "it changed while it was read")
        if isinstance(result, FileError) and not _is_of_content(result):
            self.report.fail(result)  # it is tried again at the next scan
            self.ready += self.known.still_unclassified(result, found.file)
            self._advance()
            return
        fields = described(found, self._root_of(found.file), content, tags)
        before = self.known.moved_from(content, found) if content else None
        if isinstance(result, FileError):
            self.report.fail(result)
            entry = Entry(
                **fields,
                probabilities=np.zeros(len(self.classifier.genres), np.float32),
                embedding=np.zeros(self.classifier.embedding_size, np.float32),
                problem=valid_text(result.reason),
            )
            self.ready.append(entry)
        else:
            entry = classified(fields, result, self.classifier.genres)
            if entry.kind is not None:
                entry = replace(entry, detector=self.detector)
            self._take(entry, "moved" if found.address and before else "classified")
        self._advance()

    def _root_of(self, file: Path) -> Path | str:
        """The root that a file is stored under: its present one, or the outermost above it."""
        if file in self.known.rows:
            return self.known.rows[file].root
        return outermost(self.scanned, file)

    def _take(self, entry: Entry, outcome: str) -> None:
        counts = self.report.counts
        setattr(counts, outcome, getattr(counts, outcome) + 1)
        self.ready.append(entry)

    def _advance(self) -> None:
        self.done += 1
        self.progress(self.done, self.total)
        if time.monotonic() - self.written > _SECONDS_BETWEEN_WRITES:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are ready, then remove the outdated: a kill in between loses none."""
        self.library.put(self.ready)
        written = {entry.file for entry in self.ready}
        outdated = [entry for entry in self.known.outdated if entry.file not in written]
        self.library.remove(outdated)
        self.ready, self.known.outdated, self.written = [], [], time.monotonic()

    def _mark_deleted(self) -> None:
        """Mark the rows whose files are gone from the scanned folders, where those are readable."""
        missing = self.known.missing()
        # A further link to a file that was found is not a separate track.
        files = {identity(file) for file in self.known.found} if missing else set()
        links = [entry for entry in missing if identity(entry.file) in files]
        gone = [entry for entry in missing if identity(entry.file) not in files]
        self.library.remove(links)
        # Their predictions are kept, in case the files come back.
        self.library.put([replace(entry, deleted=True) for entry in gone])
        self.report.counts.deleted = len(gone)


def _is_by_link(file: Path) -> bool:
    return os.path.realpath(file) != str(file)


def _is_of_content(error: FileError) -> bool:
    """Whether a file failed because of its content, so that it will always fail."""
    return isinstance(error, AudioError) and not isinstance(error, UnreadableError)
