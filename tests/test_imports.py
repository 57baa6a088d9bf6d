"""Importing is cheap, inference needs the base install alone, and no call needs one system."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "lightning", "pandas", "matplotlib", "sklearn", "librosa", "lancedb", "keras")
# Modules of the standard library and attributes that one system or another lacks.
MODULES = {"fcntl", "grp", "msvcrt", "pty", "pwd", "resource", "termios", "tty", "winreg"}
ATTRIBUTES = {
    "os": {
        "chown", "fchmod", "fork", "geteuid", "getgid", "getlogin", "getuid", "killpg", "lchown",
        "mkfifo", "mknod", "nice", "openpty", "posix_fadvise", "sched_getaffinity",
        "sched_setaffinity", "setsid", "startfile", "statvfs", "uname", "wait4",
    },
    "signal": {"SIGALRM", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1", "SIGUSR2", "alarm"},
    "time": {"tzset"},
}  # fmt: skip


def loaded_by(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after some code."""
    show = "import sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_genrescope_loads_almost_nothing() -> None:
    loaded = loaded_by("import genrescope; genrescope.__all__")
    assert not loaded & {*HEAVY, "numpy", "onnxruntime", "pydantic", "av", "rich", "typer"}


@pytest.mark.parametrize("module", ["inference", "audio", "features", "cli.classify"])
def test_what_classifies_needs_no_extra(module: str) -> None:
    loaded = loaded_by(f"import genrescope.{module}")
    assert "genrescope" in loaded
    assert not loaded & set(HEAVY)


def test_classify_imports_no_module_that_it_does_not_need(tmp_path: Path) -> None:
    """A cold start is mostly imports: what other commands need is imported by those alone."""
    clip = tmp_path / "clip.flac"
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * 22050)
    soundfile.write(clip, noise, 22050)
    code = f"""
import contextlib, sys
from genrescope.cli import main
sys.argv[1:] = ["classify", {str(clip)!r}]
with contextlib.suppress(SystemExit):
    main()
"""
    show = "import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "genrescope.inference.classifier" in loaded
    others = {"datasets", "evaluation", "training", "library", "encoders", "hub", "service"}
    assert not {f"genrescope.{name}" for name in others} & loaded
    heavy = {"scipy", "pyarrow", "jinja2", "yaml", "asyncio", "ssl", "http", "multiprocessing"}
    assert not {*HEAVY, *heavy} & loaded


def test_commands_are_known_without_any_extra() -> None:
    loaded = loaded_by("from genrescope.cli import COMMANDS, app; assert len(COMMANDS) > 20")
    assert "genrescope" in loaded
    assert not loaded & set(HEAVY)


def test_one_command_imports_what_it_needs_alone() -> None:
    code = """
import contextlib, sys
from genrescope.cli import main
sys.argv[1:] = ["tags", "--help"]
with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(SystemExit):
    main()
"""
    loaded = loaded_by(code)
    assert "typer" in loaded
    assert not loaded & {*HEAVY, "numpy", "onnxruntime", "av"}


def test_a_bundle_is_loaded_and_run_without_any_extra() -> None:
    code = """
import numpy as np
from genrescope import Classifier, Waveform
noise = np.random.default_rng(0).normal(0, 0.1, 9 * 22050).astype(np.float32)
Classifier.load().predict(Waveform(noise, 22050))
"""
    loaded = loaded_by(code)
    assert "onnxruntime" in loaded
    assert not loaded & set(HEAVY)


def of_one_system(text: str) -> Iterator[tuple[int, str]]:
    """Line and name of what some systems lack and that is asked for without looking first.

    `getattr(os, "sched_getaffinity", None)` looks first, and so does a `try` around an import.
    """
    tree = ast.parse(text)
    tried = {id(each) for node in ast.walk(tree) if isinstance(node, ast.Try)
             for child in node.body for each in ast.walk(child)}  # fmt: skip
    for node in ast.walk(tree):
        if id(node) in tried:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in ATTRIBUTES.get(node.value.id, ()):
                yield node.lineno, f"{node.value.id}.{node.attr}"
            continue
        else:
            continue
        yield from ((node.lineno, name) for name in names if name in MODULES)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import fcntl", ["fcntl"]),
        ("def f():\n    from pwd import getpwnam", ["pwd"]),
        ("import os\nos.sched_getaffinity(0)", ["os.sched_getaffinity"]),
        ("import signal\nsignal.signal(signal.SIGALRM, f)", ["signal.SIGALRM"]),
        ("try:\n    import fcntl\nexcept ImportError:\n    fcntl = None", []),
        ("import os\ngetattr(os, 'geteuid', None)\nos.umask(0)", []),
    ],
)
def test_calls_of_one_system_are_found(text: str, found: list[str]) -> None:
    assert [name for _, name in of_one_system(text)] == found


def test_the_source_calls_nothing_that_some_systems_lack() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in sorted((ROOT / "src").rglob("*.py"))
        for line, name in of_one_system(path.read_text(encoding="utf-8"))
    ]
    assert not found


def test_text_files_are_opened_with_an_encoding() -> None:
    """Without one, macOS and Linux read UTF-8 and Windows the code page of its language."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "src").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("read_text", "write_text")
        and not any(word.arg == "encoding" for word in node.keywords)
        and not (node.args and node.func.attr == "read_text")
    ]
    assert not found
