"""The long jobs that `faults.py` disturbs, and the processes in which they run.

A process is forked from one that has imported the packages already, so that hundreds of them are
quick. The fault happens inside it, at one of its operations on files.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import resource
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from genrescope.errors import GenrescopeError

_CHANGES = ("rename", "remove", "mkdir", "rmdir", "link", "symlink", "truncate", "chmod", "utime")
_WRITES = frozenset(f"os.{name}" for name in _CHANGES)
_DAY = 86_400.0
_LONGEST_SECONDS = 400.0


# --- The child: a command of genrescope with a fault in it -------------------------------------


class Fault:
    """Something that happens at one operation on files below a folder.

    Parameters
    ----------
    kind
        "kill", "ENOSPC" or "EIO" (also `lasting`: for every later write), "vanish" or "change" (of
        the file `victim`), "clock" (goes back by a day), "count" (nothing happens).
    at
        The number of the operation, from 1.
    """

    def __init__(
        self, folder: str, kind: str, at: int = 0, lasting: bool = False, victim: str = ""
    ) -> None:
        self.folder, self.kind, self.at, self.lasting = folder, kind, at, lasting
        self.victim, self.count = victim, 0

    def install(self) -> None:
        sys.addaudithook(self._hook)
        sync, now, now_ns = os.fsync, time.time, time.time_ns

        def fsync(file: Any) -> None:
            self._operation(writes=True, frees=False)
            sync(file)

        os.fsync = fsync
        if self.kind == "clock":
            time.time = lambda: now() - _DAY * (self.count >= self.at)
            time.time_ns = lambda: now_ns() - int(_DAY * 1e9) * (self.count >= self.at)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if event != "open" and event not in _WRITES:
            return
        path = args[0]
        if not isinstance(path, str | bytes | os.PathLike):
            return
        if not os.path.abspath(os.fsdecode(path)).startswith(self.folder):  # noqa: PTH100 - any bytes
            return
        flags = args[2] if event == "open" and isinstance(args[2], int) else 0
        writes = event != "open" or bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        self._operation(writes=writes, frees=event in ("os.remove", "os.rmdir"))

    def _operation(self, *, writes: bool, frees: bool) -> None:
        self.count += 1
        if self.kind in ("ENOSPC", "EIO"):
            later = self.lasting and self.count > self.at and writes and not frees
            if later or (self.count == self.at and not (frees and self.kind == "ENOSPC")):
                number = getattr(errno, self.kind)
                raise OSError(number, os.strerror(number))
        elif self.count != self.at:
            return
        elif self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.kind == "vanish":
            Path(self.victim).rename(f"{self.victim}.away")
        elif self.kind == "change":
            damaged = Path(self.victim).read_bytes()[:2000]
            Path(self.victim).write_bytes(damaged)


def _child(request: dict[str, Any]) -> int:
    os.environ.update(request["env"])
    tempfile.tempdir = os.environ["TMPDIR"]
    os.chdir(request["cwd"])
    if limit := request.get("file_size"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    fault = Fault(**request.get("fault", {"folder": "/nowhere", "kind": "count"}))
    fault.install()
    code: Any = 0
    try:
        if "probe" in request:
            print(json.dumps(globals()[request["probe"]](**request["arguments"])))
        else:
            sys.argv = ["genrescope", *request["command"]]
            resolve_name(request.get("entry", "genrescope.cli:main"))()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except GenrescopeError as error:  # of a function that is called without the command line
        print(f"genrescope: {error}", file=sys.stderr)
        code = 2
    except BaseException:
        traceback.print_exc()
        code = 97
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 1
    if request.get("fault", {}).get("kind") == "count":
        os.write(request["count_to"], str(fault.count).encode())
    return code


def serve() -> None:
    """Answer requests on stdin, one JSON object a line, each in a child of its own."""
    import onnxruntime  # noqa: F401 - what takes long to import and may be forked

    import genrescope.cli
    import genrescope.features  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        for name in request.get("imports", []):
            __import__(name)
        reading, writing = os.pipe()
        request["count_to"] = writing
        start, log = time.monotonic(), request["log"]
        request["longest"] = request.get("longest", _LONGEST_SECONDS)
        process = os.fork()
        if process == 0:
            code = 98
            try:
                os.setsid()
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                for number, ending in ((1, "out"), (2, "err")):
                    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                    os.dup2(os.open(f"{log}.{ending}", flags), number)
                for number, name in enumerate(("stdin", "stdout", "stderr")):
                    stream = os.fdopen(
                        number, "w" if number else "r", encoding="utf-8", closefd=False
                    )
                    setattr(sys, name, stream)
                code = _child(request)
            finally:
                os._exit(code)
        os.close(writing)
        deadline = start + request.get("kill_after", request["longest"])
        status, pause, victim = None, 0.0005, request.get("victim", "")
        while status is None:
            found, value = os.waitpid(process, os.WNOHANG)
            if found:
                status = os.waitstatus_to_exitcode(value)
            elif time.monotonic() > deadline and victim:
                # One of the processes that it has started; none may be there yet.
                for other in random.sample(started := members(process, victim), len(started))[:1]:
                    os.kill(other, signal.SIGKILL)
                    deadline, victim = start + request["longest"], ""
                time.sleep(0.05)
            elif time.monotonic() > deadline:
                os.kill(process, signal.SIGKILL)
                with suppress(ProcessLookupError):  # it may not have had a group of its own yet
                    os.killpg(process, signal.SIGKILL)
                status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            else:
                time.sleep(pause)
                pause = min(2 * pause, 0.01)
        seconds = time.monotonic() - start
        _bury(process)
        counted = os.read(reading, 20)
        os.close(reading)
        hung = status == -signal.SIGKILL and seconds >= request["longest"]
        fields = {"code": status, "seconds": seconds, "count": int(counted or 0), "hung": hung}
        fields |= {name: Path(f"{log}.{name}").read_text("utf-8", "replace") for name in _LOGS}
        print(json.dumps(fields), flush=True)


_LOGS = ("out", "err")


def members(session: int, name: str = "") -> list[int]:
    """The processes of a session, but for the one that leads it, whose command holds a name."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            number = int(entry.name)
            if number != session and os.getsid(number) == session and name.encode() in command:
                found.append(number)
    return found


def _bury(session: int) -> None:
    """Wait for the processes that another one has left when it ended, and end them."""
    deadline = time.monotonic() + 20
    while (left := members(session)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for number in left:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


# --- What a job has made -----------------------------------------------------------------------


def files_below(folder: str) -> dict[str, str]:
    """Every file below a folder by its path, with the SHA-256 of its content."""
    root = Path(folder)
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def sorted_files(folder: str) -> dict[str, str]:
    """Files by their paths, without those that undo the sorting, whose names tell the time."""
    return {name: of for name, of in files_below(folder).items() if not name.startswith("undo-")}


def library_rows(place: str) -> list[str]:
    """The rows of a library."""
    from genrescope.library.store import Library

    return [
        f"{entry.file} {entry.genre} {entry.confidence:.6f} {entry.problem} {entry.deleted}"
        for entry in Library.open(place).entries()
    ]


def npz_rows(file: str) -> list[str]:
    """The rows of a table of embeddings."""
    from genrescope.encoders.tables import read_table

    return [
        f"{track.path} {start:.2f} {hashlib.sha256(values.tobytes()).hexdigest()[:12]}"
        for track in read_table(Path(file))
        for start, values in zip(track.starts, track.values, strict=True)
    ]


def genre_rows(folder: str) -> list[str]:
    """Every file's genre, and the hash of its audio, which tags must not change."""
    from genrescope.library.content import content_of
    from genrescope.library.tags import read_genre

    files = sorted(Path(folder).iterdir())
    return [f"{path.name} {read_genre(path)} {content_of(path)}" for path in files]


def study_rows(folder: str) -> list[str]:
    """The finished trials of a search, by number."""
    with sqlite3.connect(Path(folder, "study.sqlite3")) as connection:
        finished = "SELECT number FROM trials WHERE state IN ('COMPLETE', 'PRUNED')"
        return [f"trial {place}" for place, _ in enumerate(connection.execute(finished), 1)]


def download(address: str, sha256: str, size: int) -> str:
    """Fetch a file of weights."""
    from genrescope.encoders.weights import Weights, fetch

    weights = Weights("weights.bin", address, sha256, size, "MIT", "for this test")
    return str(fetch(weights))


# --- Jobs --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A long job.

    Attributes
    ----------
    name
        In the table.
    commands
        Its command, and what a user gives before and after it when it was stopped.
    rows
        Name of the function that reads its rows, and its arguments; or a file whose lines they are.
    inputs
        Folder of files that the job must not damage; "" where it changes them on purpose.
    leftovers
        Names that may be left after the job was stopped and finished.
    needs
        What must be run in the folder before the job is.
    resumes
        Whether it may go on after its input was changed and restored; a run on other data may not.
    entry
        The function that takes its command.
    victim
        What is in the commands of the processes that it starts, which are killed as well as it is;
        "" where it starts none.
    begins
        The share of its time in which it only starts, and is not killed.
    is_remote
        Whether its input is at the address of a server, `ADDRESS` in its commands, that may fail.
    """

    name: str
    commands: list[list[str]]
    rows: tuple[str, dict[str, str]] | str
    inputs: str = "music"
    leftovers: tuple[str, ...] = ()
    needs: list[list[str]] = field(default_factory=list)
    imports: tuple[str, ...] = ()
    probe: tuple[str, dict[str, Any]] | None = None
    data: str = "music"
    resumes: bool = True
    is_remote: bool = False
    entry: str = "genrescope.cli:main"
    victim: str = ""
    begins: float = 0.0


_SCAN = ["scan", "music", "--library", "lib", "--jobs", "2"]
_TINY = """
name: tiny
description: one block
seed: 0
feature: {kind: geometric_mel, n_mels: 16, fmin: 20, fmax: 11025, n_fft: 2048, hop_length: 1920,
  center: false, n_bins: 544}
scale: track
segments: {seconds: 3, overlap: 0}
model: {kind: cnn, channels: [2], dropout: 0.0}
training: {epochs: 3, batch_size: 4, learning_rate: 0.01, precision: fp32}
split: {kind: random}
search:
  training.learning_rate: {low: 1.0e-4, high: 0.1, log: true}
  model.dropout: {low: 0, high: 0.5}
"""
_LAB = ("torch", "lightning.pytorch", "matplotlib.pyplot", "sklearn.metrics", "onnx")


def jobs() -> dict[str, Job]:
    """All jobs, by name."""
    found = [
        *(
            Job(
                f"classify --output {ending}",
                [["classify", "music", "--output", f"rows.{ending}", "--jobs", "2"]],
                f"rows.{ending}",
            )
            for ending in ("csv", "json", "jsonl")
        ),
        Job("scan", [_SCAN], ("library_rows", {"place": "lib"}), imports=("pyarrow",)),
        Job(
            "scan of addresses",
            [["scan", "ADDRESS/music", "--library", "lib", "--jobs", "2"]],
            ("library_rows", {"place": "lib"}),
            # What a killed scan has fetched is removed by one that starts a minute later.
            leftovers=("tmp/genrescope-fetch-",),
            imports=("pyarrow", "fsspec.implementations.http", "fsspec.implementations.arrow"),
            is_remote=True,
        ),
        Job(
            "embed",
            [["embed", "music", "--model", "default", "--out", "rows.npz", "--jobs", "1"]],
            ("npz_rows", {"file": "rows.npz"}),
        ),
        Job(
            "train",
            [["train", "tiny.yaml", "--data", "data", "--out", "run"]],
            "run/predictions.csv",
            inputs="data",
            data="data",
            imports=_LAB,
            resumes=False,
        ),
        Job(
            "tune",
            [["tune", "tiny.yaml", "--data", "data", "--trials", "4", "--out", "study"]],
            ("study_rows", {"folder": "study"}),
            inputs="data",
            data="data",
            imports=(*_LAB, "optuna"),
            resumes=False,
        ),
        Job(
            "sort --move",
            [_SCAN, ["sort", "--to", "sorted", "--move", "--yes", "--library", "lib"]],
            ("sorted_files", {"folder": "sorted"}),
            inputs="",
            leftovers=("undo-",),
            needs=[_SCAN],
            imports=("pyarrow",),
        ),
        Job(
            "classify --write-tags",
            [["classify", "music", "--write-tags", "--yes", "--min-confidence", "0"]],
            ("genre_rows", {"folder": "music"}),
            inputs="",
        ),
        Job(
            "download",
            [[]],
            ("files_below", {"folder": "cache/genrescope/weights"}),
            inputs="",
            leftovers=("lock",),
            imports=("genrescope.encoders.weights",),
            probe=("download", {}),
        ),
        Job(
            "map",
            [["map", "--library", "lib", "--out", "map.html"]],
            "map.html",
            needs=[_SCAN],
            imports=("pyarrow", "matplotlib.pyplot"),
        ),
    ]
    by_name = {job.name: job for job in found}
    for name in ("classify --output csv", "embed", "train", "tune"):
        job = by_name[name]
        own = [word for word in job.commands[0] if word not in ("--jobs", "1", "2")]
        label = f"{name.removesuffix(' --output csv')} --engine ray"
        by_name[label] = replace(
            job,
            name=label,
            commands=[[*own, "--engine", "ray"]],
            leftovers=("tmp/ray", "tmp/genrescope-trial-"),  # the logs of Ray's sessions
            victim="ray::",
            begins=0.4,
        )
    program = ["--nproc-per-node", "2", "--max-restarts", "0", "-m", "genrescope"]
    by_name["train, torchrun"] = replace(
        by_name["train"],
        name="train, torchrun",
        commands=[[*program, *by_name["train"].commands[0]]],
        leftovers=("tmp/torchelastic_",),  # torchrun's own logs
        entry="torch.distributed.run:main",
        victim="genrescope",
        begins=0.4,
    )
    return by_name


def make_inputs(folder: Path, files: int = 8) -> None:
    """Short pieces of music in several formats, some stored spectrograms, and a recipe."""
    import numpy as np
    import soundfile
    from PIL import Image

    from genrescope.examples import PIECES, render

    (folder / "music").mkdir(parents=True)
    endings = ("wav", "flac", "mp3", "ogg")
    names = PIECES
    for number in range(files):
        samples = render(names[number % len(names)], seconds=3.5, seed=number)
        path = folder / "music" / f"{number}.{endings[number % len(endings)]}"
        soundfile.write(path, samples, 22050)
    random_ = np.random.default_rng(0)
    for place, genre in enumerate(("low", "high"), 1):
        (folder / "data" / genre).mkdir(parents=True)
        shape = np.exp(-(((np.arange(544) / 544 - place / 3) / 0.12) ** 2))[:, None]
        for track in range(5):
            pixels = 40 + 150 * shape + 15 * random_.standard_normal((544, 344))
            image = Image.fromarray(np.clip(pixels[::-1], 1, 255).astype(np.uint8))
            image.save(folder / "data" / genre / f"{genre}.{track:05d}.png")
    (folder / "tiny.yaml").write_text(_TINY)


if __name__ == "__main__":
    serve()
