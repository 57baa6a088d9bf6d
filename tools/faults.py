"""Long jobs under faults: they are killed, run out of disk and meet errors, and must lose nothing.

Every job runs undisturbed once. Then it runs again and again from the same start, is disturbed in
one way, and is started again with the same command as a user would. It has to end with the same
result: no row twice, none missing, no file of music damaged, nothing left lying around.

    python tools/faults.py --kills 100 --others 12 --write docs/robustness.md

Of jobs that are not run, and have no row in `--results`, the page keeps the row that it has.

Full and read-only disks are small file systems in memory, which only root can mount.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fault_jobs import Job, files_below, jobs, make_inputs
from fault_server import FAULTS, Site, server, weights

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
from pages import rows_between, write_between

KILLS = ("kill at a moment", "kill at an operation")
OTHERS = (
    "ENOSPC",
    "ENOSPC from then on",
    "EIO",
    "EIO from then on",
    "full disk",
    "largest file",
    "read-only folder",
    "a file vanishes",
    "a file changes",
    "the clock goes back",
)
_MOUNTED = ("full disk", "read-only folder")


@dataclass
class Outcome:
    """What came of the trials of a job."""

    job: str
    kills: int = 0
    others: int = 0
    expected: int = 0
    found: int = 0
    doubled: int = 0
    lost: int = 0
    different: int = 0
    damaged: int = 0
    left: int = 0
    unclear: int = 0
    hung: int = 0
    measured: str = ""
    failures: list[str] = field(default_factory=list)

    @property
    def faultless(self) -> bool:
        """Whether nothing at all went wrong."""
        return not self.failures


@dataclass(frozen=True)
class State:
    """What a job has made: its rows, the files that it was to leave alone, and all names."""

    rows: tuple[str, ...]
    inputs: dict[str, str]
    names: frozenset[str]


class Forks:
    """Runs commands in processes that are forked from one with the packages already imported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("fault_jobs.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def __call__(self, cwd: Path, **request: Any) -> dict[str, Any]:
        home = {f"XDG_{n}_HOME": str(cwd / n.lower()) for n in ("CACHE", "DATA", "CONFIG")}
        home["TMPDIR"] = str(cwd / "tmp")
        request |= {"cwd": str(cwd), "env": home, "log": str(self.folder / "log")}
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("no pipes")
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the process that others are forked from has ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:  # of a busy machine; nothing is lost with it
            self.process.kill()
            self.process.wait()


class Trials:
    """The trials of one job.

    Parameters
    ----------
    job
        The job.
    folder
        Where it works; emptied again and again.
    inputs
        What `make_inputs` made.
    forks
        Runs its commands.
    site
        The server that has the weights and the music.
    """

    def __init__(
        self, job: Job, folder: Path, inputs: Path, forks: Forks, site: Site, seed: int = 0
    ) -> None:
        self.job, self.inputs, self.forks, self.site = job, inputs, forks, site
        self.work, self.start = folder / "work", folder / "start"
        site.music = self.work / "music"
        self.outcome = Outcome(job.name)
        self.random = random.Random(f"{job.name} {seed}")  # noqa: S311 - which faults to try
        shutil.copytree(inputs, self.work, dirs_exist_ok=True)
        (self.work / "tmp").mkdir()
        for command in job.needs:
            _expect_success(self._run(command))
        shutil.copytree(self.work, self.start, dirs_exist_ok=True)
        counted = self._attempt(fault=self._fault("count"))
        _expect_success(counted)
        self.operations = max(1, counted["count"])
        self._reset()
        site.fail()
        undisturbed = self._attempt()
        self.requests = max(1, site.requests)
        self.seconds = undisturbed["seconds"]
        self.expected = self._state()
        if not self.expected.rows:
            raise RuntimeError(f"{job.name}: no rows")

    def run(self, kills: int, others: int, seconds: float = math.inf) -> Outcome:
        """So many kills, and so many of each other fault; fewer when the time is over."""
        kinds = (*OTHERS, *FAULTS) if self.job.is_remote else OTHERS
        names = [n for n in kinds if n not in _MOUNTED or can_mount()] * others
        self.random.shuffle(names)
        end, share = time.monotonic() + seconds, kills / max(1, len(names))
        while time.monotonic() < end and (names or self.outcome.kills < kills):
            if self.outcome.kills < kills and self.outcome.kills <= share * self.outcome.others:
                self._killed(kills)
            elif names:
                self._disturbed(names.pop())
            else:
                self._killed(kills)
        return self.outcome

    def _killed(self, kills: int) -> None:
        """Kill the job several times, then let it end."""
        self._reset()
        story = []
        for _ in range(min(self.random.randint(1, 5), kills - self.outcome.kills)):
            job = self.job
            if self.random.random() < (0.8 if job.victim else 0.5):
                after = self.random.uniform(job.begins * self.seconds, 1.05 * self.seconds)
                victim = job.victim if self.random.random() < 0.6 else ""
                done = self._attempt(kill_after=after, victim=victim)
                story.append(f"killed {victim or 'it'} after {after:.3f} s")
            else:
                at = self.random.randint(1, self.operations)
                done = self._attempt(fault=self._fault("kill", at))
                story.append(f"killed at operation {at}")
            self.outcome.kills += 1
            self._check_end(done, story, killed=True)
        self._finish(story)

    def _disturbed(self, name: str) -> None:
        """Disturb the job once in another way, then let it end."""
        self._reset()
        at = self.random.randint(1, self.operations)
        story = [f"{name} at operation {at}"]
        self.outcome.others += 1
        expected = self.expected
        if name.startswith(("ENOSPC", "EIO")):
            done = self._attempt(
                fault=self._fault(name.split()[0], at, lasting=name.endswith("from then on"))
            )
        elif name == "largest file":
            size = int(10 ** self.random.uniform(3, 5.5))
            story = [f"no file larger than {size} bytes"]
            done = self._attempt(file_size=size)
        elif name == "the clock goes back":
            done = self._attempt(
                kill_after=self.random.uniform(0, self.seconds), fault=self._fault("clock", at)
            )
            done |= {"killed": True}
        elif name in _MOUNTED:
            done = self._on_a_small_disk(name, story)
        elif name in FAULTS:
            at = self.random.randint(1, self.requests)
            story = [f"{name} at request {at}"]
            self.site.fail(name, at)
            done = self._attempt()
            self.site.fail()
        else:
            victim = self.random.choice(sorted((self.work / self.job.data).rglob("*.*")))
            story[0] += f": {victim.name}"
            kind = "vanish" if "vanishes" in name else "change"
            done = self._attempt(fault=self._fault(kind, at, victim=str(victim)))
            self._check_end(done, story)
            # Afterwards all is as it was, and the job has to notice.
            if self.job.inputs:
                original = self.start / victim.relative_to(self.work)
                Path(f"{victim}.away").unlink(missing_ok=True)
                if not victim.exists() or victim.read_bytes() != original.read_bytes():
                    victim.unlink(missing_ok=True)
                    shutil.copy2(original, victim)
            self._finish(story, expected, only_sound=not self.job.inputs or not self.job.resumes)
            return
        self._check_end(done, story)
        self._finish(story, expected)

    def _on_a_small_disk(self, name: str, story: list[str]) -> dict[str, Any]:
        """Run on a file system that is full or read-only, and copy its files back."""
        with mounted(self.work.with_name("disk"), 64) as disk:
            for path in self.work.iterdir():
                move = shutil.copytree if path.is_dir() else shutil.copy2
                move(path, disk / path.name)
            if name == "read-only folder":
                _mount("-o", "remount,ro", str(disk))
                story[:] = [name]
            else:
                free = int(10 ** self.random.uniform(3, 5.7))
                _fill(disk / "filler", free)
                story[:] = [f"{free} bytes left on the disk"]
            with _in_place_of(self.work, disk):
                done = self._attempt()
            _mount("-o", "remount,rw", str(disk))
            (disk / "filler").unlink(missing_ok=True)
            shutil.rmtree(self.work)
            shutil.copytree(disk, self.work)
        return done

    def _finish(
        self, story: list[str], expected: State | None = None, *, only_sound: bool = False
    ) -> None:
        """Give the same command again, and compare with the undisturbed run."""
        done = {}
        for _ in range(2):  # a second time, as a user does where files failed at first
            done = self._attempt()
        if done["code"] != 0 and not only_sound:
            self._fail(story, f"ended with {done['code']}: {done['err'][-600:]}")
        if done["hung"]:
            self.outcome.hung += 1
        expected = expected or self.expected
        try:
            found = self._state()
        except Exception as error:  # whatever it is, it is a finding
            self.outcome.lost += len(expected.rows)
            self._fail(story, f"no result: {error}")
            return
        if only_sound:
            return
        self._compare(story, expected, found)

    def _compare(self, story: list[str], expected: State, found: State) -> None:
        outcome = self.outcome
        outcome.expected += len(expected.rows)
        outcome.found += len(found.rows)
        there, wanted = Counter(found.rows), Counter(expected.rows)
        doubled = sum((Counter(there) - Counter(dict.fromkeys(there, 1))).values())
        doubled -= sum((Counter(wanted) - Counter(dict.fromkeys(wanted, 1))).values())
        lost, more = sum((wanted - there).values()), sum((there - wanted).values())
        different = max(0, min(lost, more - max(0, doubled)))
        outcome.doubled += max(0, doubled)
        outcome.different += different
        outcome.lost += lost - different
        if lost or more:
            self._fail(
                story, f"lost {sorted(wanted - there)[:2]}, more {sorted(there - wanted)[:2]}"
            )
        damaged = [n for n, sha256 in expected.inputs.items() if found.inputs.get(n) != sha256]
        outcome.damaged += len(damaged)
        if damaged:
            self._fail(story, f"damaged {damaged}")
        left = [
            name
            for name in found.names - expected.names
            if not any(each in name for each in self.job.leftovers)
        ]
        outcome.left += len(left)
        if left:
            self._fail(story, f"left {left[:3]}")

    def _check_end(self, done: dict[str, Any], story: list[str], *, killed: bool = False) -> None:
        """A disturbed command says in plain lines what is wrong, or succeeds."""
        fine = (0, 1, 2, -9) if killed or done.get("killed") else (0, 1, 2)
        unclear = "Traceback" in done["err"] or done["code"] not in fine
        if done["hung"]:
            self.outcome.hung += 1
        if unclear:
            self.outcome.unclear += 1
            self._fail(story, f"ended with {done['code']}: {done['err'][-1500:]}")

    def _fail(self, story: Sequence[str], what: str) -> None:
        self.outcome.failures.append(f"{self.job.name}: {'; '.join(story)}: {what}")

    def _reset(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.start, self.work, symlinks=True)

    def _fault(self, kind: str, at: int = 0, **more: Any) -> dict[str, Any]:
        return {"folder": str(self.work), "kind": kind, "at": at, **more}

    def _attempt(self, **request: Any) -> dict[str, Any]:
        """Run the commands of the job; those after the first are disturbed, too."""
        done: dict[str, Any] = {}
        for command in self.job.commands:
            done = self._run(command, **request)
            if done["code"] not in (0, 1):
                break
        return done

    def _run(self, command: list[str], **request: Any) -> dict[str, Any]:
        if self.job.probe is not None:
            content = hashlib.sha256(weights()).hexdigest()
            address = f"{self.site.address}/weights.bin"
            arguments = {"address": address, "sha256": content, "size": len(weights())}
            request |= {"probe": self.job.probe[0], "arguments": arguments}
        words = [word.replace("ADDRESS", self.site.address) for word in command]
        if self.job.victim:  # what starts processes takes longer
            request |= {"longest": 900.0, "entry": self.job.entry}
        return self.forks(self.work, command=words, imports=self.job.imports, **request)

    def _state(self) -> State:
        if isinstance(self.job.rows, str):
            text = (self.work / self.job.rows).read_text("utf-8", "surrogateescape")
            rows = text.replace(str(self.work), "@").splitlines()
        else:
            name, arguments = self.job.rows
            done = self.forks(self.work, probe=name, arguments=arguments, imports=self.job.imports)
            if done["code"] != 0:
                raise ValueError(done["err"][-400:])
            found = json.loads(done["out"])
            rows = [" ".join(i) for i in found.items()] if isinstance(found, dict) else found
        inputs = files_below(str(self.work / self.job.inputs)) if self.job.inputs else {}
        names = {
            str(path.relative_to(self.work))
            for path in self.work.rglob("*")
            if not any(part in ("lib", "cache", "data", "log") for part in path.parts)
        }
        return State(tuple(rows), inputs, frozenset(names))


def _expect_success(done: dict[str, Any]) -> None:
    if done["code"] != 0:
        raise RuntimeError(f"an undisturbed command ended with {done['code']}: {done['err']}")


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@functools.cache
def can_mount() -> bool:
    """Whether this process may mount file systems."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with mounted(Path(folder, "disk"), 1):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[Path]:
    """A small file system in memory."""
    folder.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def _in_place_of(folder: Path, other: Path) -> Iterator[None]:
    """Make a folder show what is in another."""
    _mount("--bind", str(other), str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(file: Path, free: int) -> None:
    """Fill a disk up to some bytes."""
    status = os.statvfs(file.parent)
    with file.open("wb") as filler:
        filler.write(b"\0" * max(0, status.f_bavail * status.f_frsize - free))


_COLUMNS = (
    "expected",
    "found",
    "doubled",
    "lost",
    "different",
    "damaged",
    "left",
    "unclear",
    "hung",
    "measured",
)


def table(rows: Sequence[str]) -> list[str]:
    """The lines of a Markdown table with the rows of jobs."""
    head = f"| job | kills | other faults | {' | '.join(_COLUMNS)} |"
    return [head, "|---|" + "--:|" * (1 + len(_COLUMNS)) + "---|", *rows]


def row(outcome: Outcome) -> str:
    """What came of a job as a row of that table."""
    figures = " | ".join(str(getattr(outcome, name)) for name in _COLUMNS)
    return f"| {outcome.job} | {outcome.kills} | {outcome.others} | {figures} |"


def main() -> int:
    """Run the trials of all jobs, or of those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    several = "by default all but those that start processes of their own, of Ray and torchrun"
    parser.add_argument("names", nargs="*", metavar="JOB", help=f"only these; {several}")
    parser.add_argument("--kills", type=int, default=100, help="of each job")
    parser.add_argument("--others", type=int, default=10, help="of each other fault and job")
    parser.add_argument("--seconds", type=float, default=math.inf, help="for each job at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path("faults.json"), help="kept here")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    options = parser.parse_args()
    chosen = options.names or [name for name, job in jobs().items() if not job.victim]
    if unknown := set(options.names) - {*jobs()}:
        parser.error(f"no job {min(unknown)!r}: expected some of {', '.join(jobs())}")
    known = json.loads(options.results.read_text()) if options.results.exists() else {}
    for name in chosen:
        job = jobs()[name]
        with tempfile.TemporaryDirectory(prefix="faults-") as folder, server() as site:
            inputs = Path(folder, "inputs")
            make_inputs(inputs)
            forks = Forks(Path(folder))
            trials = Trials(job, Path(folder), inputs, forks, site, options.seed)
            print(f"{name}: {trials.operations} operations, {trials.seconds:.2f} s", flush=True)
            outcome = trials.run(options.kills, options.others, options.seconds)
            forks.close()
        outcome.measured = f"{datetime.now(UTC):%Y-%m-%d}"
        print(*table([row(outcome)]), *outcome.failures, sep="\n", flush=True)
        known[name] = asdict(outcome)
        options.results.write_text(json.dumps(known, indent=1))
    outcomes = [Outcome(**known[name]) for name in jobs() if name in known]
    if options.write:
        found = rows_between(options.write, "faults") | {each.job: row(each) for each in outcomes}
        write_between(
            options.write, "faults", table([found[name] for name in jobs() if name in found])
        )
    return int(not all(outcome.faultless for outcome in outcomes))


if __name__ == "__main__":
    raise SystemExit(main())
