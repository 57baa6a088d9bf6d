"""What all tests share: the same conditions on every machine, and which tests can run here."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, so that a failure comes from the change under test, and no limit
# on their time, which is the machine's. Other examples are tried by
# `pytest --hypothesis-profile=default`.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")

# What changes the output or the configuration of programs under test, or names accounts, clusters
# and groups of processes that tests must not find.
_PREFIXES = ("GENRESCOPE_", "AWS_", "AZURE_", "GOOGLE_", "RAY_", "TORCHELASTIC_")
_NAMES = (
    *("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PY_COLORS", "GITHUB_ACTIONS"),
    *("COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "LANGUAGE", "PYTHONIOENCODING"),
    *("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    *("BEETSDIR", "NETRC", "PYTHONWARNINGS"),
)
# Ray takes no busy or full machine for a dead or a broken one.
_RAY = {
    "agent_register_timeout_ms": "600000",
    "gcs_server_port_wait_time_s": "300",
    "health_check_failure_threshold": "100",
    "local_fs_capacity_threshold": "1.0",
    "memory_monitor_refresh_ms": "0",
    "worker_register_timeout_seconds": "600",
}
_LOCAL = "localhost,127.0.0.1,0.0.0.0,::1"


def _set_conditions() -> None:
    """Set what a process takes over from whoever started it, before anything reads it."""
    for name in [*os.environ]:
        if name in _NAMES or (name.startswith(_PREFIXES) and name != "GENRESCOPE_TESTS"):
            del os.environ[name]
    os.environ["TERM"] = "xterm"
    # Tests talk to servers of this machine, which no proxy knows.
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), _LOCAL)))
    os.umask(0o022)
    # Whoever starts the tests may have some signals ignored (in the background, by nohup) or
    # blocked, which processes that are started here would take over.
    with suppress(ValueError):  # in another thread than the main one
        for name in ("SIGHUP", "SIGTERM", "SIGCHLD"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())


_set_conditions()

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))[
    "project"
]["optional-dependencies"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    no_data = not (SHARED / "data").is_dir()
    for item in items:
        if no_data and item.get_closest_marker("shared"):
            item.add_marker(pytest.mark.skip(reason=f"no research data at {SHARED / 'data'}"))
        for marker in item.iter_markers("needs"):
            for extra in marker.args:
                if absent := missing(extra):
                    reason = f"needs genrescope[{extra}]: {', '.join(absent)} not installed"
                    item.add_marker(pytest.mark.skip(reason=reason))


@cache
def missing(extra: str) -> tuple[str, ...]:
    """Packages of an extra, and of the extras it includes, that are not installed."""
    absent: list[str] = []
    for requirement in EXTRAS[extra]:
        name = re.match(r"[\w.-]+", requirement)[0]
        inner = re.match(r"genrescope\[([\w,]+)\]", requirement)
        for other in inner[1].split(",") if inner else []:
            absent += missing(other)
        if not inner:
            try:
                metadata.distribution(name)
            except metadata.PackageNotFoundError:
                absent.append(name)
    return tuple(dict.fromkeys(absent))


@pytest.fixture(scope="session")
def shared() -> Path:
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches, libraries and settings are kept out of the user's own, and of another worker's."""
    home, short = os.path.expanduser("~"), _short_folder()  # noqa: PTH111
    with pytest.MonkeyPatch.context() as patch:
        if not os.access(home, os.W_OK):  # a user without a home, as in some containers
            patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        _keep_pip(Path(home), patch)
        for name in ("cache", "config", "data", "state"):
            patch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path_factory.mktemp(name)))
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        patch.setenv("RAY_TMPDIR", short)
        for name, value in _RAY.items():
            patch.setenv(f"RAY_{name}", value)
        yield
    shutil.rmtree(short, ignore_errors=True)


def _short_folder() -> str:
    """A folder for Ray, which makes sockets there: their paths have at most 107 bytes."""
    parent = "/tmp" if os.access("/tmp", os.W_OK) else None
    return tempfile.mkdtemp(prefix="ray-", dir=parent)


def _keep_pip(home: Path, patch: pytest.MonkeyPatch) -> None:
    """Pip, which some tests call, still asks the user's index, and downloads nothing twice."""
    for variable, folder, name in (
        ("PIP_CONFIG_FILE", os.environ.get("XDG_CONFIG_HOME") or home / ".config", "pip.conf"),
        ("PIP_CACHE_DIR", os.environ.get("XDG_CACHE_HOME") or home / ".cache", ""),
    ):
        place = Path(folder, "pip", name)
        if variable not in os.environ and place.exists():
            patch.setenv(variable, str(place))
