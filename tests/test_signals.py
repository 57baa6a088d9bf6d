"""What signals do to a command: an orderly end, and an end at once where Ctrl-C comes again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from clips import write_spectrograms

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

# A command that takes so many seconds to end.
ENDS_SLOWLY = """
import sys, time, typer
from genrescope import cli
seconds, work = float(sys.argv.pop()), typer.Typer()
@work.command()
def run():
    try:
        print("now", flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        print("ending", flush=True)
        time.sleep(seconds)
        raise typer.Exit(130) from None
cli.command_line = lambda names: work
cli.main()
"""


def listens() -> None:
    """In the background a process may have been told to ignore some of them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def interrupted(number: int, *, seconds: float) -> subprocess.Popen[str]:
    """A command that is ending, after a first signal."""
    process = subprocess.Popen(
        [sys.executable, "-c", ENDS_SLOWLY, str(seconds)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=listens,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(number)
    assert process.stdout.readline() == "ending\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143), (1, 129)])
def test_the_exit_code_names_the_signal_and_a_second_request_changes_nothing(
    number: int, code: int
) -> None:
    process = interrupted(number, seconds=0.3)
    # What shuts down asks again, and a program that started this one passes Ctrl-C on at once.
    process.send_signal(signal.SIGTERM)
    process.send_signal(number)
    _, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (code, "")


@pytest.mark.slow
def test_a_second_ctrl_c_ends_at_once() -> None:
    process = interrupted(signal.SIGINT, seconds=600)
    time.sleep(0.2)  # one that comes earlier was passed on
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (130, "")


# A command in which the exception of the first signal is lost or replaced.
LOSES_IT = """
import os, signal, sys, time, typer
from genrescope import cli
number, how, work = int(sys.argv.pop()), sys.argv.pop(), typer.Typer()
class Last:
    def __del__(self):
        os.kill(os.getpid(), number)
        for _ in range(1000):
            time.sleep(0.001)
@work.command()
def run():
    if how == "replaced":
        try:
            os.kill(os.getpid(), number)
            time.sleep(600)
        except KeyboardInterrupt:
            raise ValueError("not closed") from None
    try:
        Last()
        time.sleep(600)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
cli.command_line = lambda names: work
cli.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
@pytest.mark.parametrize(
    ("how", "err"),
    [("lost", ""), ("replaced", "genrescope: interrupted: ValueError: not closed\n")],
)
def test_an_interruption_is_not_lost(how: str, err: str, number: int, code: int) -> None:
    words = [sys.executable, "-c", LOSES_IT, how, str(number)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, preexec_fn=listens)
    assert (done.returncode, done.stderr) == (code, err)


@pytest.mark.slow
@pytest.mark.needs("train")
def test_a_training_that_is_asked_to_end_can_be_resumed(tmp_path: Path) -> None:
    write_spectrograms(tmp_path / "data")
    command = [sys.executable, "-m", "genrescope", "train", "default-random", "--data", "data"]
    command += ["--set", "ensemble=[]", "--set", "model.channels=[4]", "--out", "run"]
    process = subprocess.Popen(
        [*command, "--set", "training.epochs=5000"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=listens,
    )  # fmt: skip
    job = tmp_path / "run/jobs/only"
    while not (job / "checkpoint.ckpt").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 143
    assert err.endswith("interrupted; the same command resumes the run in run\n")
    assert "Traceback" not in err
    assert {each.name for each in job.iterdir()} - {"checkpoint.part"} == {
        "checkpoint.ckpt",
        "tracks.json",
    }


@pytest.mark.slow
@pytest.mark.needs("library")
def test_a_question_that_is_interrupted_is_no_partial_failure(tmp_path: Path) -> None:
    import pty

    from genrescope.examples import write_examples

    env = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data")}
    program = [sys.executable, "-m", "genrescope"]
    music = tmp_path / "music"
    write_examples(music, seconds=3)
    subprocess.run([*program, "scan", music], env=env, check=True, capture_output=True)
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [*program, "library", "forget", music], stdin=its, stdout=its, stderr=its, env=env,
        preexec_fn=listens,
    )  # fmt: skip
    shown = b""
    while b"?" not in shown:
        shown += os.read(ours, 1000)
    # One that comes just before the process waits for the answer does not wake it up; a person's
    # next one does.
    deadline = time.monotonic() + 600
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2)
    assert process.wait(timeout=0) == 130
    os.close(ours)
    os.close(its)
