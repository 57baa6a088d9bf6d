"""Build or refresh a library: only what is new or has changed is heard.

Conventions
-----------
A file is *unchanged* where its size and time of change are those of its row. Any other file is
compared by content: where the same audio is known, what was heard is taken over. It is *moved*
where the known file is gone, else *recognised*: a copy, a file whose tags changed, or one that came
back. Results are written every few seconds, so a kill at any point loses no more than those.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from genrescope.errors import FileError
from genrescope.inference import Classifier, Prediction
from genrescope.library.files import Found, content_of, music_in, tags_of
from genrescope.library.index import refresh
from genrescope.library.store import (
    Entry,
    Library,
    LibraryError,
    Model,
    Place,
    default_library,
    is_library,
    locked,
    place_of,
)

_SECONDS_BETWEEN_WRITES = 3.0


@dataclass
class Counts:
    """What a scan did with the files it found.

    Attributes
    ----------
    heard, unchanged, moved, recognised
        See the module's conventions.
    deleted
        Files that are gone since the last scan.
    failed
        Files that could not be heard, or not even read, at this scan.
    """

    heard: int = 0
    unchanged: int = 0
    moved: int = 0
    recognised: int = 0
    deleted: int = 0
    failed: int = 0


@dataclass
class Report:
    """The outcome of a scan.

    Attributes
    ----------
    library
        The library, open.
    counts
        What happened to how many files.
    failures
        What failed at this scan, with the reason.
    failed_before
        Unchanged files that could not be heard at an earlier scan, and were not tried again.
    interrupted
        It was stopped; what was heard until then is in the library.
    """

    library: Library
    counts: Counts = field(default_factory=Counts)
    failures: list[FileError] = field(default_factory=list)
    failed_before: int = 0
    interrupted: bool = False


def _nothing(*_: Any) -> None:
    """For those who do not watch."""


def scan(
    folders: Sequence[str | os.PathLike[str]],
    *,
    library: Place | None = None,
    model: str = "default",
    rescan: bool = False,
    jobs: int | None = None,
    progress: Callable[[int, int], None] = _nothing,
    waiting: Callable[[str], None] = _nothing,
) -> Report:
    """Bring a library up to date with folders of music.

    Any number of scans may be started at once: one works, the others wait for it.

    Parameters
    ----------
    folders
        What to look through. Rows of other folders are left as they are.
    library
        The library's folder or address, made where it is missing; None for the default place.
    model
        A shipped model or a bundle.
    rescan
        Hear everything anew, in these and in all folders that were scanned before; the only way to
        change the model.
    jobs
        Files heard at once; as many as there are cores by default.
    progress
        Told how many files of how many that are new or changed are done.
    waiting
        Told the process id of another scan where that has to be waited for.

    Raises
    ------
    FileError
        A folder is missing; a `LibraryError` where the library was made with another model.
    """
    # A folder that is reached by a link is still one folder.
    roots = [Path(folder).resolve() for folder in folders]
    for root in roots:
        if not root.is_dir():
            raise FileError(root, "not a folder")
    classifier = Classifier.load(model)
    folder = place_of(library or default_library())
    with locked(folder, waiting):
        made_by = _model(classifier, model)
        if rescan:
            roots += _roots_of(folder)
            opened = Library.create(folder, made_by)
        else:
            opened = _open_or_create(folder, made_by)
        work = _Scan(opened, classifier, roots, progress)
        try:
            work.run(jobs)
        except KeyboardInterrupt:
            work.report.interrupted = True
            work.flush()
        return work.report


def _model(classifier: Classifier, source: str) -> Model:
    path = Path(source)
    return Model(
        classifier.manifest.name,
        classifier.manifest.sha256,
        str(path.resolve()) if path.exists() else source,
        tuple(classifier.genres),
        classifier.embedding_size,
    )


def _open_or_create(folder: str, model: Model) -> Library:
    """Open the library or make one; refuse one that another model made."""
    if not is_library(folder):
        return Library.create(folder, model)
    opened = Library.open(folder)
    if opened.model.sha256 != model.sha256:
        made, wanted = opened.model, model
        raise LibraryError(
            folder,
            f"made with the model {made.name} ({made.sha256[:8]}), not {wanted.name} "
            f"({wanted.sha256[:8]}): --rescan hears everything anew",
        )
    return opened


def _roots_of(folder: str) -> list[Path]:
    """The folders that a library knows and that are still there; none of one that is damaged."""
    try:
        known = {Path(entry.root) for entry in Library.open(folder).entries()}
    except LibraryError:
        return []
    return [root for root in sorted(known) if root.is_dir()]


class _Scan:
    """One scan at work: what it knows, what waits to be heard, what waits to be written."""

    def __init__(
        self,
        library: Library,
        classifier: Classifier,
        roots: list[Path],
        progress: Callable[[int, int], None],
    ) -> None:
        self.library, self.classifier, self.progress = library, classifier, progress
        self.roots = roots
        self.report = Report(library)
        self.known = {entry.file: entry for entry in library.entries()}
        self.by_content: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in self.known.values():
            self.by_content[entry.content].append(entry)
        self.moved: set[Path] = set()  # where moved files were known before
        self.pending: deque[tuple[Found, str]] = deque()
        self.ready: list[Entry] = []
        self.outdated: list[Entry] = []
        self.written = time.monotonic()
        self.done = self.total = 0

    def run(self, jobs: int | None) -> None:
        """Look, hear, write, and mark what is gone."""
        found, blind = self._look()
        changed = [each for each in found.values() if not self._is_unchanged(each)]
        self.total = len(changed)
        self.progress(0, self.total)
        for result in self.classifier.predict_many(self._unheard(changed), jobs=jobs):
            self._settle(*self.pending.popleft(), result)
        self.flush()
        self._mark_deleted(found, blind)
        counts = self.report.counts
        if len(found) > counts.unchanged or counts.deleted:
            self.library.compact()
        refresh(self.library)

    def _look(self) -> tuple[dict[Path, Found], list[Path]]:
        """All music files, and the places that could not be looked into."""
        found: dict[Path, Found] = {}
        for root in self.roots:
            files, errors = music_in(root)
            found |= {each.file: each for each in files}
            self.report.failures += errors
            self.report.counts.failed += len(errors)
        return found, [Path(error.path) for error in self.report.failures]

    def _is_unchanged(self, found: Found) -> bool:
        entry = self.known.get(found.file)
        same = entry and (entry.size, entry.mtime_ns) == (found.size, found.mtime_ns)
        if entry is None or not same:
            return False
        if entry.deleted:  # it came back as it was
            self._take(replace(entry, deleted=False), "recognised")
            return True
        self.report.counts.unchanged += 1
        self.report.failed_before += entry.problem is not None
        return True

    def _unheard(self, changed: Iterable[Found]) -> Iterator[Path]:
        """The files whose audio is not known; those that are known are settled on the way."""
        for found in changed:
            try:
                content = content_of(found.file)
            except FileError as error:  # not stored: it is tried again at the next scan
                self._fail(error)
                self._advance()
                continue
            if self.by_content[content]:
                self._recognise(found, content)
                self._advance()
            else:
                self.pending.append((found, content))
                yield found.file

    def _recognise(self, found: Found, content: str) -> None:
        """Take over what was heard of the same audio before."""
        same = self.by_content[content]
        gone = (e for e in same if e.file not in self.moved and not os.path.lexists(e.file))
        before = next(gone, None)
        if before is not None:
            self.moved.add(before.file)
            self.outdated.append(before)
        now = about(found, self._root_of(found.file), content)
        self._take(
            replace(before or same[0], **now, deleted=False),
            "recognised" if before is None else "moved",
        )

    def _settle(self, found: Found, content: str, result: Prediction | FileError) -> None:
        """Turn what was heard into a row."""
        known = about(found, self._root_of(found.file), content)
        if isinstance(result, FileError):
            self._fail(result)
            entry = Entry(
                **known,
                probabilities=np.zeros(len(self.classifier.genres), np.float32),
                embedding=np.zeros(self.classifier.embedding_size, np.float32),
                problem=_as_text(result.reason),
            )
            self.ready.append(entry)
        else:
            self._take(heard(known, result, self.classifier.genres), "heard")
        self._advance()

    def _root_of(self, file: Path) -> Path:
        """The root a file is stored under: the one it has, or the outermost it lies below."""
        if file in self.known:
            return Path(self.known[file].root)
        above = [root for root in self.roots if file.is_relative_to(root)]
        return min(above, key=lambda root: len(root.parts))

    def _take(self, entry: Entry, what: str) -> None:
        counts = self.report.counts
        setattr(counts, what, getattr(counts, what) + 1)
        self.ready.append(entry)

    def _fail(self, error: FileError) -> None:
        self.report.failures.append(error)
        self.report.counts.failed += 1

    def _advance(self) -> None:
        self.done += 1
        self.progress(self.done, self.total)
        if time.monotonic() - self.written > _SECONDS_BETWEEN_WRITES:
            self.flush()

    def flush(self) -> None:
        """Write what is ready. First the new places, then without the old: a kill loses nothing."""
        self.library.put(self.ready)
        placed = {entry.file for entry in self.ready}
        self.library.remove([entry for entry in self.outdated if entry.file not in placed])
        self.ready, self.outdated, self.written = [], [], time.monotonic()

    def _mark_deleted(self, found: dict[Path, Found], blind: list[Path]) -> None:
        """Mark what is gone from the scanned folders, as far as they could be looked into."""
        gone = [
            entry
            for file, entry in self.known.items()
            if file not in found
            and file not in self.moved
            and not entry.deleted
            and any(file.is_relative_to(root) for root in self.roots)
            and not any(file.is_relative_to(place) for place in blind)
        ]
        self.library.mark_deleted(gone)
        self.report.counts.deleted = len(gone)


def about(found: Found, root: Path, content: str) -> dict[str, Any]:
    """What a row says of a file before it is heard."""
    return {
        "root": str(root),
        "path": str(found.file.relative_to(root)),
        "content": content,
        "size": found.size,
        "mtime_ns": found.mtime_ns,
        **asdict(tags_of(found.file)),
    }


def heard(known: dict[str, Any], prediction: Prediction, genres: Sequence[str]) -> Entry:
    """The row of a file that was heard; `known` is what `about` gave."""
    of = prediction.probabilities
    values = [of[genre] if prediction.genre else 0.0 for genre in genres]
    return Entry(
        **known,
        probabilities=np.array(values, np.float32),
        embedding=prediction.embedding,
        genre=prediction.genre,
        confidence=prediction.confidence,
        duration=prediction.duration,
        warnings=[_as_text(warning) for warning in prediction.warnings],
    )


def _as_text(text: str) -> str:
    """A text that can be stored, whatever names it quotes."""
    return text.encode(errors="backslashreplace").decode()
