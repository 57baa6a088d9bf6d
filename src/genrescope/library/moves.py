"""Files copied, linked or moved by a list of steps, never over another file, undone on request.

Conventions
-----------
The steps are written next to the sorted files, as JSON, before the first is taken, so that an
interrupted run can be undone, too. Undoing touches only what is still as the step left it; a file
that was moved may have other tags by then, but has to have the same coded audio. A symbolic link
that is moved still points to the same file, also where that is moved, too.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from genrescope.atomic import write_atomic
from genrescope.errors import FileError
from genrescope.library.content import content_of
from genrescope.library.leftovers import temporary_copy
from genrescope.library.transfer import copy_or_move, is_copy

Action = Literal["copy", "link", "move"]
_FORMAT = 2
# Steps in which file systems store times, in nanoseconds; FAT's are of two seconds.
_TIME_STEPS = (1, 100, 10**3, 10**6, 10**7, 10**9, 2 * 10**9)


class SortError(FileError):
    """A file can't be sorted, or a sorting can't be undone."""


class _GoneError(FileNotFoundError):
    """A moved file is at neither place, so that no later undo can help."""


@dataclass(frozen=True)
class Step:
    """One file to be copied, linked or moved.

    Attributes
    ----------
    source, target
        From where, to where; absolute. A link at `target` points to `source`.
    size, mtime_ns
        Size in bytes and modification time in nanoseconds since 1970 of the source when the step
        was planned.
    link, moved_link
        For a symbolic link that is moved: its text before and after; else None. A link that stays
        while its file is moved has one path as source and target.
    content
        SHA-256 of the source's coded audio; None where it is not known.
    """

    source: str
    target: str
    size: int
    mtime_ns: int
    link: str | None = None
    moved_link: str | None = None
    content: str | None = None


def with_links(steps: Iterable[Step], action: Action) -> list[Step]:
    """Steps in the order in which they are taken, with what the moved links will say.

    Links come last, so that they can point to where the files are by then.
    """
    steps = list(steps)
    if action != "move":
        return steps
    targets = {_in_real_folder(step.source): step.target for step in steps}
    files, links = [], []
    for step in steps:
        source = Path(step.source)
        if not source.is_symlink():
            files.append(step)
            continue
        text = os.fspath(source.readlink())
        pointed = _in_real_folder(source.parent / text)
        now = _link_text(targets.get(pointed, pointed), Path(step.target), like=text)
        links.append(replace(step, link=text, moved_link=now))
    return [*files, *links]


def links_that_follow(steps: Iterable[Step], folders: Iterable[Path]) -> list[Step]:
    """Steps for the links in folders that stay where they are but lead to files that are moved.

    Source and target of such a step are the link.
    """
    targets = {_in_real_folder(step.source): step.target for step in steps}
    found: dict[str, Step] = {}
    for folder in folders if targets else ():
        for place, _, names in os.walk(folder):
            for link in (Path(place, name) for name in names):
                if not link.is_symlink() or _in_real_folder(link) in targets:
                    continue
                text = os.fspath(link.readlink())
                target = targets.get(_in_real_folder(link.parent / text))
                if target is not None:
                    now = _link_text(target, link, like=text)
                    found[str(link)] = Step(str(link), str(link), 0, 0, text, now)
    return list(found.values())


def _in_real_folder(path: str | Path) -> str:
    """The absolute path of a file, or of a link, below a folder that is named without links."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118 - half as fast


def _leads_to(link: str, text: str) -> str:
    """The path that a link with a text leads to, below a folder that is named without links."""
    return _in_real_folder(Path(link).parent / text)


def _link_text(target: str, link: Path, *, like: str) -> str:
    """What a link says that leads to a target, absolute or relative as another text is."""
    if Path(like).is_absolute():
        return target
    return os.path.relpath(target, os.path.realpath(link.parent))


def carry_out(
    steps: Sequence[Step],
    action: Action,
    folder: Path,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    roots: Iterable[str] = (),
) -> tuple[Path | None, list[SortError]]:
    """Take steps, after writing into a folder the file that undoes them.

    Parameters
    ----------
    progress
        Called with the number of steps taken and of all after each.
    roots
        The scanned folders that the files come from, which are to be scanned after an undo.

    Returns
    -------
    Path or None
        The file that undoes them; None where there was nothing to do.
    list of SortError
        Files that failed; they are where they were.

    Raises
    ------
    SortError
        The folder can't be written to; nothing was done.
    """
    if not steps:
        return None, []
    undo_file = _write_undo(steps, action, folder, roots)
    failures = []
    stay: set[str] = set()  # targets that nothing came to, which no link may lead to
    for done, step in enumerate(steps, 1):
        try:
            if step.moved_link is not None and _leads_to(step.target, step.moved_link) in stay:
                raise FileNotFoundError(2, "the file that it leads to was not moved")
            _take(step, action)
        except OSError as error:
            stay.add(_in_real_folder(step.target))
            failures.append(SortError(step.source, f"not sorted: {error.strerror or error}"))
        progress(done, len(steps))
    return undo_file, failures


def undo(file: Path) -> tuple[int, list[SortError]]:
    """Take steps back, as far as their files are still as they left them.

    The undo file is removed once nothing is left to undo, and so are folders that are empty then.

    Returns
    -------
    int
        Files moved back, or copies and links removed.
    list of SortError
        Files that were changed since, and stay, or are gone.

    Raises
    ------
    SortError
        The file is not an undo file.
    """
    action, steps, _ = _read_undo(file)
    undone, failures, is_done = 0, [], True
    missing: set[str] = set()  # sources that nothing came back to, which no link may lead to
    # Links last, when it is known which files came back.
    files = [step for step in steps if step.link is None]
    links = [step for step in steps if step.link is not None]
    for step in (*reversed(files), *reversed(links)):
        try:
            if step.link is not None and _leads_to(step.source, step.link) in missing:
                raise FileExistsError(17, "the file that it leads to was not moved back")
            undone += _take_back(step, action)
        except OSError as error:
            if not isinstance(error, _GoneError):
                missing.add(_in_real_folder(step.source))
                is_done = False
            failures.append(SortError(step.target, f"not undone: {error.strerror or error}"))
    # The file may be named by a relative path, or through a link.
    folders = {Path(step.target).parent.resolve() for step in steps}
    _remove_empty(folders, file.resolve().parent)
    if is_done:
        file.unlink()
    return undone, failures


def moved_from(file: Path) -> list[str]:
    """The scanned folders to which an undo file takes files back; none where none were moved.

    Raises
    ------
    SortError
        It is no undo file.
    """
    action, _, roots = _read_undo(file)
    return roots if action == "move" else []


def _read_undo(file: Path) -> tuple[Action, list[Step], list[str]]:
    """The action, the steps and the scanned folders of an undo file."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8", errors="surrogateescape"))
        action, steps = stored["action"], [Step(**step) for step in stored["steps"]]
        roots = stored.get("roots", [])
        if stored["format"] not in (1, _FORMAT) or action not in get_args(Action):
            raise ValueError("another format")
        if not all(map(_is_whole, steps)) or not _are_texts(roots):
            raise ValueError("values of other types")
    except OSError as error:
        raise SortError(file, f"can't be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SortError(file, "not an undo file of genrescope sort") from error
    return action, steps, roots


def _remove_empty(folders: Iterable[Path], top: Path) -> None:
    """Remove folders that are empty, and those above them that are empty then, below `top`."""
    for folder in folders:
        while folder != top and folder.is_relative_to(top):
            try:
                folder.rmdir()
            except OSError:  # not empty
                break
            folder = folder.parent


def _take(step: Step, action: Action) -> None:
    """Take one step; a file that came to its target meanwhile is left alone."""
    source, target = Path(step.source), Path(step.target)
    target.parent.mkdir(parents=True, exist_ok=True)
    if source == target:
        _point(step, step.link, step.moved_link)
    elif action == "link":
        target.symlink_to(source)
    elif action == "move" and step.moved_link is not None:
        target.symlink_to(step.moved_link)
        source.unlink()
    else:
        copy_or_move(source, target, action)


def _point(step: Step, before: str | None, now: str | None) -> bool:
    """Make a link lead elsewhere, in one step; False where it does so already.

    Raises
    ------
    FileExistsError
        When the link has changed since.
    """
    link = Path(step.source)
    text = os.fspath(link.readlink()) if link.is_symlink() else None
    if text == now or now is None:
        return False
    if text != before:
        raise FileExistsError(17, "it is no longer the link that it was")
    with temporary_copy(link) as new:
        new.unlink()
        new.symlink_to(now)
        new.replace(link)
    return True


def unfinished_moves(folder: Path) -> set[tuple[str, str]]:
    """Sources and targets of all moves into a folder of which there are undo files."""
    found: set[tuple[str, str]] = set()
    for file in folder.glob("undo-*.json"):
        try:
            stored = json.loads(file.read_text(encoding="utf-8", errors="surrogateescape"))
            if stored["action"] == "move":
                found |= {(step["source"], step["target"]) for step in stored["steps"]}
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            continue  # no file of ours
    return found


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_whole(step: Step) -> bool:
    """Whether what was read as a step has values of its types."""
    paths, numbers = (step.source, step.target), (step.size, step.mtime_ns)
    texts = (step.link, step.moved_link, step.content)
    return (
        all(isinstance(each, str) and "\0" not in each for each in paths)
        and all(isinstance(each, int) for each in numbers)
        and all(each is None or isinstance(each, str) for each in texts)
    )


def _take_back(step: Step, action: Action) -> bool:
    """Undo one step; False where it was never taken, or was undone before."""
    source, target = Path(step.source), Path(step.target)
    if not os.path.lexists(target):
        if action == "move" and not os.path.lexists(source):
            # Where a folder is missing, too, it may be on a disk that is only not mounted.
            is_gone = target.parent.is_dir() and source.parent.is_dir()
            reason = "it is gone from there and from where it was"
            raise _GoneError(2, reason) if is_gone else FileNotFoundError(2, reason)
        return False
    if source == target:
        return _point(step, step.moved_link, step.link)
    if action == "link":
        if not target.is_symlink() or os.fspath(target.readlink()) != step.source:
            raise FileExistsError(17, "it is no longer the link that was made")
        target.unlink()
        return True
    _check_unchanged(step, target, action)
    if action == "copy":
        _check_original(step, source)
        target.unlink()
        return True
    if os.path.lexists(source):
        # Stopped between two renamings, or between a copy to another disk and its end.
        if not source.is_symlink() and (source.samefile(target) or is_copy(source, target)):
            target.unlink()
            return True
        raise FileExistsError(17, f"another file is at {source} now")
    source.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink():
        # Version 0.1 moved links as they were.
        source.symlink_to(step.link if step.link is not None else target.readlink())
        target.unlink()
    else:
        copy_or_move(target, source, "move")
    return True


def _check_unchanged(step: Step, target: Path, action: Action) -> None:
    """Check that a copied or moved file is as the step left it.

    A copy is removed, and with it what was changed in it. A moved file is only moved back, so that
    it may have other tags.

    Raises
    ------
    FileExistsError
        When it is not.
    """
    status = target.lstat()
    if step.moved_link is not None:
        is_same = target.is_symlink() and os.fspath(target.readlink()) == step.moved_link
    elif target.is_symlink():  # a link that version 0.1 moved, with the size of what it points to
        is_same = status.st_size != step.size
    else:
        is_same = status.st_size == step.size and _is_time(status.st_mtime_ns, step.mtime_ns)
        if action == "move" and not is_same and step.content is not None:
            with suppress(FileError):
                is_same = content_of(target) == step.content
    if not is_same:
        raise FileExistsError(17, "it was changed since")


def _is_time(stored: int, exact: int) -> bool:
    """Whether a time is what a file system stores of an exact one, in nanoseconds."""
    return any(stored % step == 0 and abs(exact - stored) < step for step in _TIME_STEPS)


def _check_original(step: Step, source: Path) -> None:
    """Check that the original of a copy is there as it was, for the copy may be all that is left.

    Raises
    ------
    OSError
        When it is not.
    """
    if not source.is_file():
        raise FileNotFoundError(2, f"its original {source} is gone: the copy stays")
    status = source.stat()
    is_same = status.st_size == step.size and _is_time(status.st_mtime_ns, step.mtime_ns)
    if not is_same and not is_copy(source.resolve(), Path(step.target)):
        raise FileExistsError(17, f"its original {source} was changed since: the copy stays")


def _write_undo(steps: Sequence[Step], action: Action, folder: Path, roots: Iterable[str]) -> Path:
    written = [asdict(step) for step in steps]
    stored = {"format": _FORMAT, "action": action, "roots": [*roots], "steps": written}
    text = json.dumps(stored, indent=1, ensure_ascii=False) + "\n"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    file, number = folder / f"undo-{stamp}.json", 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while not _is_made(file):
            number += 1
            file = folder / f"undo-{stamp}-{number}.json"
        try:
            write_atomic(file, text.encode("utf-8", "surrogateescape"))
        except BaseException:
            file.unlink()
            raise
    except OSError as error:
        raise SortError(folder, f"can't be written: {error.strerror}") from None
    return file


def _is_made(file: Path) -> bool:
    """Make an empty file; False where there is one, perhaps another process's of this second."""
    try:
        file.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
