"""The Ray engine against the local one, on a real cluster of two nodes on this machine."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from genrescope import Classifier
from genrescope.cli import app
from genrescope.errors import AudioError, FileError
from genrescope.examples import write_examples

pytestmark = [pytest.mark.needs("ray"), pytest.mark.needs("library")]

_STARTS = 10


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray") / "music"
    folder.mkdir()
    clips = sorted(write_examples(folder))
    for number in range(2):
        for clip in clips:
            shutil.copy(clip, folder / f"{number} {clip.name}")
    (folder / "noise.mp3").write_bytes(b"no music " * 100)
    (folder / os.fsdecode(b"caf\xe9.flac")).write_bytes(clips[0].read_bytes())
    return folder


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[None]:
    import ray
    from ray.cluster_utils import Cluster

    # Another test may have left one to which it had connected.
    ray.shutdown()
    store = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    # Ray gives a node half a minute to start in, which a busy machine may not keep.
    for attempt in range(_STARTS):
        cluster = Cluster()
        try:
            cluster.add_node(**store, include_dashboard=False)
            cluster.add_node(**store)
            ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
            break
        except Exception:  # Ray raises that itself
            ray.shutdown()
            with suppress(Exception):
                cluster.shutdown()
            if attempt == _STARTS - 1:
                raise
    yield
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def server(music: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(music))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _processes(name: bytes) -> list[int]:
    """Process ids of the actors or tasks of a name."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            # Of this cluster, not of another one on the machine.
            if line.startswith(b"ray::") and name in line and _is_ours(int(entry.name)):
                found.append(int(entry.name))
    return found


def _is_ours(process: int) -> bool:
    while process > 1:
        if process == os.getpid():
            return True
        try:
            status = Path(f"/proc/{process}/stat").read_text("utf-8", "replace")
        except OSError:
            return False
        process = int(status.rpartition(")")[2].split()[1])
    return False


def test_the_rows_are_those_of_the_local_engine_though_an_actor_dies(
    music: Path, two_nodes: None, server: str
) -> None:
    from genrescope.inference.ray_engine import RayEngine

    classifier = Classifier.load()
    files: list[Path | str] = [*sorted(music.iterdir()), music / "absent.mp3"]
    local = list(classifier.predict_many(files))
    for _ in range(_STARTS):  # the last result may be there, too, when this process gets a core
        results, killed = [], []
        for result in RayEngine().predict_many(classifier, files):
            if not results:
                killed = _processes(b"_Network")[:1]
                for process in killed:
                    os.kill(process, signal.SIGKILL)
            results.append(result)
        if killed:
            break
    assert killed
    assert len(results) == len(local) == 24
    for one, other in zip(results, local, strict=True):
        if isinstance(other, FileError):
            assert (type(one), str(one)) == (type(other), str(other))
        else:
            assert one == other


@pytest.mark.slow
def test_commands_write_the_same_with_both_engines(
    music: Path, two_nodes: None, server: str, tmp_path: Path
) -> None:
    import pyarrow.parquet

    from genrescope.library.store import Library

    def run(*arguments: object, code: int) -> None:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output

    clips = tmp_path / "clips"
    clips.mkdir()
    write_examples(clips)
    tables = {}
    for engine, source in (("local", music), ("ray", music), ("http", server)):
        out = tmp_path / f"{engine}.parquet"
        chosen = "local" if engine == "local" else "ray"
        run("classify", source, "--engine", chosen, "-o", out, code=1)
        tables[engine] = pyarrow.parquet.read_table(out).to_pylist()
    assert len(tables["local"]) == 22
    assert tables["ray"] == tables["local"]
    by_genre = [{k: v for k, v in row.items() if k != "path"} for row in tables["local"]]
    assert sorted(map(str, by_genre)) == sorted(
        str({k: v for k, v in row.items() if k != "path"}) for row in tables["http"]
    )
    rows = {}
    for engine in ("local", "ray"):
        place = tmp_path / f"library-{engine}"
        run("scan", clips, "--library", place, "--engine", engine, code=0)
        out = tmp_path / f"{engine}.npz"
        run("embed", clips, "--model", "default", "-o", out, "--engine", engine, code=0)
        with np.load(out) as arrays:
            rows[engine] = {name: arrays[name] for name in ("paths", "start", "embedding")}
        entries = {entry.file: entry for entry in Library.open(place).entries()}
        found = [entries[file] for file in sorted(entries)]
        rows[engine]["files"] = np.array([str(entry.file) for entry in found])
        rows[engine]["probabilities"] = np.stack([entry.probabilities for entry in found])
        rows[engine]["embeddings"] = np.stack([entry.embedding for entry in found])
    for name, expected in rows["local"].items():
        if name == "embedding":
            np.testing.assert_allclose(rows["ray"][name], expected, atol=1e-5)
        else:
            assert (rows["ray"][name] == expected).all(), name


class _NeedsSecrets(_Quiet):
    """Serves what a password or a signature is given for."""

    def do_GET(self) -> None:
        if self.is_allowed():
            super().do_GET()

    def do_HEAD(self) -> None:
        if self.is_allowed():
            super().do_HEAD()

    def is_allowed(self) -> bool:
        self.path, _, query = self.path.partition("?")
        password = self.headers["Authorization"] == "Basic dXNlcjo1ZWNyZXR3b3Jk"
        if not password and query != "X-Amz-Signature=5ecretword":
            self.send_error(403)
            return False
        return True


@pytest.mark.slow
def test_secrets_of_addresses_are_used_and_stored_nowhere(
    music: Path, two_nodes: None, tmp_path: Path
) -> None:
    import ray

    first, second, *_ = sorted(path.name for path in music.glob("*.flac"))
    handler = functools.partial(_NeedsSecrets, directory=str(music))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{running.server_port}"
        signed = "?X-Amz-Signature=5ecretword"
        addresses = [
            f"http://user:5ecretword@{host}/{first}",
            f"http://{host}/{second}{signed}",
            f"http://user:5ecretword@{host}/noise.mp3",
            f"http://{host}/absent.mp3{signed}",
            f"http://user:5ecretword@{host}/nowhere/",
        ]
        printed = ""
        for command in (["classify", "-o", "out.csv"], ["embed", "-m", "default", "-o", "out.npz"]):
            out = tmp_path / command[-1]
            words = [*command[:-1], str(out), *addresses, "--engine", "ray"]
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 1, done.output
            printed += done.output
        running.shutdown()
    names = [f"http://{host}/{name}" for name in (first, second)]
    rows = (tmp_path / "out.csv").read_text().splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == names
    with np.load(tmp_path / "out.npz") as arrays:
        assert [*dict.fromkeys(arrays["paths"])] == names
    for name in ("noise.mp3", "absent.mp3", "nowhere/"):
        assert printed.count(f"http://{host}/{name}: ") == 2
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())
    written = [path for folder in (tmp_path, logs) for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 5
    assert [path for path in written if b"5ecretword" in path.read_bytes()] == []
    assert "5ecretword" not in printed


@pytest.mark.slow
def test_a_file_that_kills_its_decoder_costs_no_other_row(two_nodes: None, music: Path) -> None:
    from genrescope.inference.ray_engine import PredictionPipeline, RayEngine

    bundle = Classifier.load().bundle
    good = sorted(music.glob("*.flac"))[:6]
    names = [*map(str, good[:3]), "deadly.mp3", *map(str, good[3:])]
    results = list(RayEngine().results(_deadly(PredictionPipeline)(bundle), names))
    assert isinstance(results[3], FileError)
    assert "died" in results[3].reason
    rest = [result.path for result in results if not isinstance(result, FileError)]
    assert rest == [*names[:3], *names[4:]]


def _deadly(base: type) -> type:
    """A pipeline whose decoder ends its process, as a fault in a C library does."""

    class Deadly(base):
        def __reduce__(self):
            return type(self), (self.bundle,)

        def read(self, source, info):
            if source == "deadly.mp3":
                os._exit(139)
            yield from super().read(source, info)

    return Deadly


def test_an_address_is_read_and_listed(music: Path, server: str) -> None:
    from genrescope.audio.addresses import audio_at, open_source

    listed = audio_at(f"{server}/")
    assert len(listed) == len(list(music.iterdir()))
    with open_source(f"{server}/noise.mp3") as opened:
        assert opened.read() == (music / "noise.mp3").read_bytes()
    assert audio_at(f"file://{music}")[0].startswith("file:///")
    with pytest.raises(AudioError, match=r"absent.mp3: (no such file|not readable)"):
        open_source(f"{server}/absent.mp3").__enter__()
    with pytest.raises(FileError, match="can't be listed"):
        audio_at("nosuch://bucket/music")


def test_engines_refuse_what_makes_no_sense(music: Path, tmp_path: Path) -> None:
    for arguments, reason in (
        (["--address", "auto"], "needs --engine ray"),
        (["--format", "parquet"], "needs --out"),
    ):
        result = CliRunner().invoke(app, ["classify", str(music), *arguments])
        assert result.exit_code == 2
        assert reason in result.output


_TINY = """
name: tiny
description: a network of one block
feature: {kind: stored, name: net, width: 4}
scale: none
segments: {seconds: 30, overlap: 0}
model: {kind: mlp, hidden: [4], dropout: 0.0}
training: {epochs: 120, batch_size: 4, learning_rate: 0.01, precision: fp32}
split: {kind: random}
search:
  training.learning_rate: {low: 1.0e-4, high: 0.1, log: true}
"""


@pytest.mark.slow
@pytest.mark.needs("lab")
def test_trials_run_on_a_cluster_though_a_process_dies(
    two_nodes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import optuna

    from genrescope.datasets import Track
    from genrescope.inference.ray_engine import RayEngine
    from genrescope.training import ray_trials
    from genrescope.training.recipe import load_recipe
    from genrescope.training.tune import tune

    monkeypatch.setattr(ray_trials, "_PAUSE", 0.03)  # a trial takes less than a second
    (tmp_path / "tiny.yaml").write_text(_TINY)
    recipe = load_recipe(str(tmp_path / "tiny.yaml"))
    random = np.random.default_rng(0)
    vectors = {
        f"{genre}{n}": (np.eye(2, 4)[g] + random.normal(size=(2, 4))).astype(np.float32)
        for g, genre in enumerate(("blues", "disco"))
        for n in range(10)
    }
    tracks = [Track(name, Path("x.npz"), name[:5]) for name in vectors]
    folder, notices = tmp_path / "study", list[str]()
    killed: list[int] = []

    over = threading.Event()

    def kill() -> None:
        """Kill a process of a trial, stopped before so that it can't finish meanwhile."""
        while not killed and not over.is_set():
            for process in _processes(b"_run_trial")[:1]:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGSTOP)
                    is_at_it = process in _processes(b"_run_trial")
                    os.kill(process, signal.SIGKILL if is_at_it else signal.SIGCONT)
                    killed.extend([process] if is_at_it else [])

    killer = threading.Thread(target=kill)
    killer.start()
    shared = {"engine": RayEngine(), "vectors": vectors, "notice": notices.append}
    try:
        found = tune(recipe, tracks, folder, trials=2, **shared)
    finally:
        over.set()
        killer.join()
    assert killed
    storage = f"sqlite:///{folder / 'study.sqlite3'}"
    study = optuna.load_study(study_name="tiny", storage=storage)
    failed = [t for t in study.trials if t.state.name == "FAIL"]
    complete = [t for t in study.trials if t.state.name == "COMPLETE"]
    assert (len(failed), len(complete), found.trials) == (1, 2, 2)
    assert failed[0].params in [t.params for t in complete]
    assert notices == [f"trial {failed[0].number}: its process died; its settings are tried again"]
    assert all(max(t.intermediate_values) == 120 for t in complete)
    assert found.start is not None
    # Far below those that were there, the next one is pruned before it has trained to its end.
    for _ in range(5):
        study.add_trial(
            optuna.trial.create_trial(
                params=complete[0].params,
                distributions=complete[0].distributions,
                intermediate_values=dict.fromkeys(range(1, 121), 2.0),
                value=2.0,
            )
        )
    found = tune(recipe, tracks, folder, trials=8, **shared)
    assert (found.trials, found.pruned) == (8, 1)
    last = study.trials[-1]
    assert last.state.name == "PRUNED"
    assert max(last.intermediate_values) < 120
    assert not [*folder.glob("trial-*")]


@pytest.mark.slow
def test_the_feature_cache_is_filled_with_the_same_bits(
    two_nodes: None, music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genrescope.datasets import Track
    from genrescope.inference.ray_engine import RayEngine
    from genrescope.training.data import read_windows
    from genrescope.training.ray_features import fill_cache
    from genrescope.training.reporter import DefaultReporter

    frontend = Classifier.load().bundle.manifest.frontend
    tracks = [Track(path.name, path, "rock") for path in sorted(music.iterdir())[::4]]
    tracks.append(Track("noise", music / "noise.mp3", "rock"))
    tracks.append(Track("absent", music / "absent.mp3", "rock"))
    caches = {}
    for engine in ("local", "ray"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / engine))
        if engine == "local":
            read_windows(frontend, tracks, {}, DefaultReporter())
        else:
            fill_cache(RayEngine(), frontend, tracks, DefaultReporter())
        caches[engine] = {
            path.name: path.read_bytes() for path in (tmp_path / engine).rglob("*.npy")
        }
    assert len(caches["local"]) >= 3
    assert caches["ray"] == caches["local"]
