"""Known models: checkpoints read without pickle, graphs filled, bundles made, files fetched."""

from __future__ import annotations

import json
import os
import pickle
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from checkpoints import random_tensors, tensor_program, write_archive, write_checkpoint
from genrescope import Bundle, Classifier, Waveform
from genrescope.cli import app
from genrescope.encoders.torch_checkpoint import CheckpointError, read_checkpoint
from genrescope.encoders.weights import WeightsError
from genrescope.errors import BundleError, FileError
from genrescope.hub import catalogue
from genrescope.hub.catalogue import AUDIOSET, AUDIOSET_LARGE, KnownModel, fetch, make_bundle
from genrescope.hub.graph import layout_of
from genrescope.settings import default_model, read_settings, write_settings

NAME = b"\x80\x02}(X\x01\x00\x00\x00a"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folders, empty."""
    for name in ("CACHE", "DATA", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.delenv("GENRESCOPE_MODEL", raising=False)
    monkeypatch.delenv("GENRESCOPE_OFFLINE", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of mn04's names and shapes with random numbers."""
    path = tmp_path_factory.mktemp("weights") / AUDIOSET.weights.file
    return write_checkpoint(path, random_tensors(AUDIOSET.graph))


@pytest.fixture
def model(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """The AudioSet model as if its published file were the random checkpoint."""
    content = checkpoint.read_bytes()
    published = replace(
        AUDIOSET.weights, sha256=sha256(content).hexdigest(), size=len(content), url="http://x"
    )
    known = replace(AUDIOSET, weights=published)
    monkeypatch.setitem(catalogue.KNOWN, "audioset", known)
    return known


# Checkpoints


def test_tensors_come_back_by_name_with_their_values(tmp_path: Path) -> None:
    tensors = {
        "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.float32([-1.5]),
        "none": np.zeros((0, 4), np.float32),
    }
    found = read_checkpoint(write_checkpoint(tmp_path / "x.pt", tensors))
    assert list(found) == list(tensors)
    for name, values in tensors.items():
        np.testing.assert_array_equal(found[name], values)


def test_strides_and_offsets_are_followed(tmp_path: Path) -> None:
    storage = np.arange(7, dtype="<f4").tobytes()
    program = NAME + tensor_program("0", (3, 2), 7, offset=1, strides=(1, 3)) + b"u."
    found = read_checkpoint(write_archive(tmp_path / "x.pt", program, {"0": storage}))
    np.testing.assert_array_equal(found["a"], [[1, 4], [2, 5], [3, 6]])


@pytest.mark.needs("encoders")
def test_what_torch_saved_is_read_as_torch_reads_it(tmp_path: Path) -> None:
    import torch

    network = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3))
    state = network.state_dict()
    state["half"] = torch.arange(4, dtype=torch.float16)
    state["view"] = torch.arange(12.0).reshape(3, 4).T
    torch.save(state, tmp_path / "x.pt")
    found = read_checkpoint(tmp_path / "x.pt")
    assert list(found) == list(state)
    for name, values in state.items():
        np.testing.assert_array_equal(found[name], values.numpy())


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_a_command_is_refused(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "ran"
    program = pickle.dumps({"a": Evil(trace)}, protocol=protocol)
    path = write_archive(tmp_path / "x.pt", program, {})
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not trace.exists()


TENSOR = tensor_program("0", (2,), 2)


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\neval\n(X\x01\x00\x00\x001tR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(tR.",
        b"ctorch._utils\n_rebuild_parameter\n(tR.",
        b"ccollections\nOrderedDict\n(X\x01\x00\x00\x00atR.",
        b"ccollections\nOrderedDict\n)\x81.",
        b"ctorch\nFloatStorage\n)R.",
        b"cnumpy._core.multiarray\n_reconstruct\n.",
        b"(ios\nsystem\n.",
        b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93.",
        b"\x80\x02}(X\x01\x00\x00\x00aX\x01\x00\x00\x00bu.",
        b"\x80\x02}.",
        b"]K\x01a.",
        b"K\x01.",
        b"X\x01\x00\x00\x00aQ.",
        b"}R.",
        b"u.",
        b"t.",
        b".",
        b"",
        NAME + TENSOR + b"}b" + b"u.",
        NAME + TENSOR,
        NAME + tensor_program("0", (3,), 2) + b"u.",
        NAME + tensor_program("0", (2,), 2, offset=1) + b"u.",
        NAME + tensor_program("0", (2,), 2, offset=-1) + b"u.",
        NAME + tensor_program("0", (-2,), 2) + b"u.",
        NAME + tensor_program("0", (2, 10**9), 2, strides=(0, 0)) + b"u.",
        NAME + tensor_program("0", (2,), 3) + b"u.",
        NAME + tensor_program("1", (2,), 2) + b"u.",
        NAME + tensor_program("../data.pkl", (2,), 2) + b"u.",
    ],
)
def test_anything_but_named_tensors_is_refused(tmp_path: Path, program: bytes) -> None:
    path = write_archive(tmp_path / "x.pt", program, {"0": bytes(8)})
    with pytest.raises(CheckpointError, match=r"x\.pt: not a checkpoint"):
        read_checkpoint(path)


# Each tuple holds the one before twice: its hash, its text and a comparison take for ever.
TOWER = b")q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(80))


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02}" + TOWER + b"K\x01s.",
        b"\x80\x04" + TOWER + b"X\x01\x00\x00\x00a\x93.",
        b"\x80\x04X\x01\x00\x00\x00a" + TOWER + b"\x93.",
    ],
)
def test_a_pickle_that_would_compute_for_ever_is_refused(tmp_path: Path, program: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"x\.pt: not a checkpoint"):
        read_checkpoint(write_archive(tmp_path / "x.pt", program, {}))


def test_few_bytes_cannot_stand_for_many_tensors(tmp_path: Path) -> None:
    storages = {"0": bytes(4 * 100)}

    def program(lengths: range) -> bytes:
        names = (b"X\x03\x00\x00\x00%03d" % i for i in range(len(lengths)))
        tensors = (tensor_program("0", (length,), 100) for length in lengths)
        return b"\x80\x02}(" + b"".join(n + t for n, t in zip(names, tensors, strict=True)) + b"u."

    with pytest.raises(CheckpointError, match="too often"):
        read_checkpoint(write_archive(tmp_path / "x.pt", program(range(50, 100)), storages))
    tied = program(range(100, 101)).replace(b"u.", b"")
    tied += program(range(100, 101))[4:].replace(b"000", b"001")
    found = read_checkpoint(write_archive(tmp_path / "x.pt", tied, storages))
    assert [values.shape for values in found.values()] == [(100,), (100,)]


def test_a_pipe_is_no_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"x\.pt: can't be read: not a regular file"):
        read_checkpoint(tmp_path / "x.pt")


def test_archives_that_torch_does_not_write_are_refused(tmp_path: Path) -> None:
    good = write_checkpoint(tmp_path / "good.pt", {"a": np.ones(2, np.float32)})
    with zipfile.ZipFile(good) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match="compressed"):
        read_checkpoint(packed)
    with zipfile.ZipFile(good, "a") as archive:
        archive.writestr("archive/byteorder", b"big")
    with pytest.raises(CheckpointError, match="little"):
        read_checkpoint(good)
    (tmp_path / "text.pt").write_text("no archive")
    with pytest.raises(CheckpointError, match="zip"):
        read_checkpoint(tmp_path / "text.pt")
    with pytest.raises(CheckpointError, match="can't be read"):
        read_checkpoint(tmp_path / "absent.pt")


def test_a_truncated_checkpoint_is_refused_at_any_length(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path / "x.pt", {"a": np.ones((4, 5), np.float32)}).read_bytes()
    for length in range(0, len(whole) - 1, 37):
        (tmp_path / "cut.pt").write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_checkpoint(tmp_path / "cut.pt")


# Graphs and bundles


@pytest.mark.parametrize("known", [AUDIOSET, AUDIOSET_LARGE], ids=lambda known: known.name)
def test_layouts_have_no_gaps(known: KnownModel) -> None:
    end = 0
    for entry in layout_of(known.graph):
        assert entry["offset"] == end
        end += 4 * int(np.prod(entry["shape"]))


@pytest.mark.needs("encoders")
@pytest.mark.parametrize("known", [AUDIOSET, AUDIOSET_LARGE], ids=lambda known: known.name)
def test_a_filled_graph_computes_what_torch_computes(known: KnownModel, tmp_path: Path) -> None:
    import torch

    from genrescope.encoders.efficientat import EfficientAT
    from genrescope.hub.graph import graph_of, weights_of
    from genrescope.onnx_session import onnx_session

    tensors = random_tensors(known.graph, seed=1)
    path = write_checkpoint(tmp_path / "x.pt", tensors)
    session = onnx_session(graph_of(known.graph), weights=weights_of(known.graph, path))
    network = EfficientAT(0.4 if known is AUDIOSET else 1.0).eval()
    state = {name: torch.from_numpy(values) for name, values in tensors.items()}
    network.load_state_dict(state, strict=False)
    segments = np.random.default_rng(0).normal(0, 1, (3, 128, 1000)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(segments))
    found = session.run(["logits", "embedding"], {"segments": segments})
    for name, values in zip(("logits", "embedding"), found, strict=True):
        scale = float(expected[name].abs().max())
        np.testing.assert_allclose(values, expected[name].numpy(), atol=1e-4 * scale)


def test_a_bundle_is_saved_and_loaded_with_its_labels(checkpoint: Path, tmp_path: Path) -> None:
    bundle = make_bundle(AUDIOSET, checkpoint)
    bundle.save(tmp_path / "made")
    again = Bundle.load(tmp_path / "made")
    assert again.manifest == bundle.manifest
    assert again.manifest.schema_version == 3
    assert again.manifest.labels is not None
    assert len(again.manifest.labels.styles) > 25
    silence = Waveform(np.random.default_rng(0).normal(0, 0.1, 64000).astype(np.float32), 32000)
    prediction = Classifier(again).predict(silence)
    assert prediction.embedding.shape == (384,)
    assert prediction.labels is not None
    assert set(prediction.probabilities) == set(again.manifest.genres)


@pytest.mark.parametrize("fault", ["missing", "shape", "nan"])
def test_another_networks_tensors_are_refused(tmp_path: Path, fault: str) -> None:
    tensors = random_tensors(AUDIOSET.graph)
    name = "classifier.5.bias"
    if fault == "missing":
        del tensors[name]
    elif fault == "shape":
        tensors[name] = tensors[name][:-1]
    else:
        tensors[name][3] = np.nan
    path = write_checkpoint(tmp_path / "x.pt", tensors)
    with pytest.raises(FileError, match=rf"x\.pt: does not fit: {name}"):
        make_bundle(AUDIOSET, path)


# Fetching


@pytest.fixture
def server(checkpoint: Path) -> Iterator[tuple[str, list[str]]]:
    """A server of the checkpoint that breaks the first connection off half way."""
    content = checkpoint.read_bytes()
    ranges: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            ranges.append(asked)
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = len(content) if asked else len(content) // 2
            self.wfile.write(content[start:end])

        def log_message(self, format: str, *args: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/weights.pt", ranges
    running.shutdown()
    running.server_close()


def test_a_model_is_fetched_though_the_connection_breaks_off(
    model: KnownModel, server: tuple[str, list[str]], checkpoint: Path, folders: Path
) -> None:
    url, ranges = server
    here = replace(model, weights=replace(model.weights, url=url))
    folder = fetch(here)
    assert folder == folders / "data" / "genrescope" / "models" / "audioset"
    assert ranges == ["", f"bytes={checkpoint.stat().st_size // 2}-"]
    assert Classifier.load("audioset").manifest.name == "audioset"
    fetch(here)
    assert len(ranges) == 2, "what is here is not downloaded again"


def test_a_file_that_is_not_the_published_one_is_refused(
    model: KnownModel, server: tuple[str, list[str]], folders: Path
) -> None:
    weights = replace(model.weights, url=server[0], sha256="0" * 64)
    with pytest.raises(WeightsError, match="not the published"):
        fetch(replace(model, weights=weights))
    assert not list(folders.rglob("*.part"))
    assert not list(folders.rglob("bundle.json"))


def test_a_damaged_file_of_the_users_is_refused(model: KnownModel, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    path.write_bytes(b"something else")
    with pytest.raises(WeightsError, match="not the published"):
        fetch(model, path)


# The command line


def run(*words: str) -> Any:
    return CliRunner().invoke(app, list(words), catch_exceptions=True)


def test_the_list_says_what_is_here(model: KnownModel, checkpoint: Path) -> None:
    before = {row["name"]: row for row in json.loads(run("models", "list", "-f", "json").stdout)}
    assert before["default"]["in_use"] and not before["audioset"]["here"]
    assert run("models", "fetch", "audioset", "--weights", str(checkpoint)).exit_code == 0
    after = {row["name"]: row for row in json.loads(run("models", "list", "-f", "json").stdout)}
    assert after["audioset"]["here"] and not after["audioset"]["in_use"]
    assert "audioset" in run("models", "list").stdout


@pytest.mark.parametrize("fault", ["temperature", "labels", "unreadable"])
def test_a_model_of_an_older_version_says_how_it_is_renewed(
    model: KnownModel, checkpoint: Path, fault: str
) -> None:
    """One line, with the command; a model that was fetched just now says nothing."""
    folder = fetch(model, checkpoint)
    command = "to renew it: genrescope models fetch audioset"
    assert command not in run("info", "audioset").output
    manifest = json.loads((folder / "bundle.json").read_text("utf-8"))
    if fault == "temperature":
        manifest["temperature"] = 0.79
    elif fault == "labels":
        manifest["labels"]["genres"]["blues"]["offset"] = 3.0
    else:
        manifest["labels"] = {"of": "another form"}
    (folder / "bundle.json").write_text(json.dumps(manifest), "utf-8")
    said = run("info", "audioset")
    assert isinstance(said.exception, BundleError) == (fault == "unreadable")
    assert command in " ".join(f"{said.output} {said.exception}".split())
    rows = json.loads(run("models", "list", "--format", "json").stdout)
    assert {row["name"]: row["outdated"] for row in rows}["audioset"]


def test_without_a_network_it_is_said_which_file_to_put_where(
    model: KnownModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENRESCOPE_OFFLINE", "1")
    result = run("models", "fetch", "audioset")
    assert isinstance(result.exception, WeightsError)
    message = str(result.exception)
    assert "mn04_as_mAP_432.pt" in message and "put it at" in message


def test_an_unknown_model_is_one_line(model: KnownModel) -> None:
    result = run("models", "fetch", "audiosets")
    assert isinstance(result.exception, BundleError)
    assert "audioset, audioset-large" in str(result.exception)
    with pytest.raises(BundleError, match="genrescope models list"):
        Bundle.load("audioset")


def test_info_tells_of_a_model_that_is_here_and_of_one_that_is_not(
    model: KnownModel, checkpoint: Path
) -> None:
    absent = json.loads(run("models", "info", "audioset", "-f", "json").stdout)
    assert not absent["here"] and absent["licence"] == "MIT"
    fetch(model, checkpoint)
    fields = json.loads(run("models", "info", "audioset", "-f", "json").stdout)
    assert fields["here"] and "techno" in fields["styles"] and "reggae" in fields["genres"]
    assert "genres: blues" in run("models", "info", "audioset").stdout


@pytest.mark.parametrize("model", ["/x/\U0001f600/é", 'a"b\\c', "a\x7f\nb\u2028", "café"])
def test_settings_come_back_as_they_were(folders: Path, model: str) -> None:
    write_settings(model=model)
    assert read_settings()["model"] == model


def test_a_setting_that_is_no_text_is_refused_and_the_others_stay(folders: Path) -> None:
    write_settings(model="café")
    with pytest.raises(FileError, match="not valid UTF-8"):
        write_settings(model="caf\udce9")
    assert default_model() == "café"


def test_the_model_in_use_comes_from_the_settings_or_the_environment(
    model: KnownModel, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, folders: Path
) -> None:
    assert default_model() == "default"
    assert isinstance(run("models", "use", "audioset").exception, BundleError)
    fetch(model, checkpoint)
    assert run("models", "use", "audioset").exit_code == 0
    assert default_model() == "audioset"
    monkeypatch.setenv("GENRESCOPE_MODEL", "default")
    assert default_model() == "default"
    monkeypatch.delenv("GENRESCOPE_MODEL")
    settings = folders / "config" / "genrescope" / "config.toml"
    assert settings.read_text() == 'model = "audioset"\n'
    settings.write_text("colour = 3\n")
    with pytest.raises(FileError, match=r"config\.toml: unknown or wrong setting 'colour'"):
        default_model()
    settings.write_text("model = \n")
    with pytest.raises(FileError, match=r"config\.toml: can't be read"):
        default_model()


# Real weights


@pytest.mark.shared
def test_the_published_checkpoint_becomes_a_bundle(shared: Path) -> None:
    folder = fetch(AUDIOSET, shared / "weights" / "efficientat-mn04")
    bundle = Bundle.load("audioset")
    assert bundle.manifest.provenance["weights_sha256"] == AUDIOSET.weights.sha256
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5e6


@pytest.mark.shared
@pytest.mark.needs("encoders")
def test_the_published_checkpoint_is_read_as_torch_reads_it(shared: Path) -> None:
    import torch

    path = shared / "weights" / "efficientat-mn04" / AUDIOSET.weights.file
    expected = torch.load(path, weights_only=True)
    found = read_checkpoint(path)
    assert list(found) == list(expected)
    assert all(np.array_equal(found[name], expected[name].numpy()) for name in expected)


def test_a_user_without_a_home_has_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", os.devnull)
    monkeypatch.delenv("GENRESCOPE_MODEL", raising=False)
    assert read_settings() == {}
    assert default_model() == "default"
