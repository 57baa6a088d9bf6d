"""Discogs' 400 styles: graphs of others joined into a bundle, on graphs of the same signature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from genrescope import Classifier, Waveform
from genrescope.cli import app
from genrescope.errors import FileError
from genrescope.hub.catalogue import DISCOGS, make_style_bundle
from genrescope.hub.discogs import HEAD_FILE, read_styles, style_head
from genrescope.library.genre_names import genre_name
from genrescope.onnx_session import onnx_session

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.needs("encoders")

GENRES = ("Electronic", "Hip Hop", "Non-Music", "Rock", "Funk / Soul")
STYLES = [(GENRES[i // 80], f"Style {i}") for i in range(400)]
STYLES[0], STYLES[300] = ("Electronic", "UK Garage"), ("Rock", "Experimental")
STYLES[1] = ("Electronic", "Experimental")


def write_graph(
    path: Path, shape: list[int], layers: dict[str, tuple[int, str]], opset: int = 13, seed: int = 0
) -> Path:
    """A graph of random weights: eight frames, then dense layers."""
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(seed)
    value = "serving_default:0"
    graph_input = helper.make_tensor_value_info(value, TensorProto.FLOAT, ["n", *shape])
    nodes, numbers, outputs = [], [], []
    if len(shape) > 1:
        nodes.append(helper.make_node("Slice", [value, "first", "last", "one"], ["sliced"]))
        nodes.append(helper.make_node("Flatten", ["sliced"], ["flat"]))
        for name, at in (("first", [0]), ("last", [8]), ("one", [1])):
            numbers.append(numpy_helper.from_array(np.array(at, np.int64), name))
        value, size = "flat", 8 * shape[1]
    else:
        (size,) = shape
    for name, (count, activation) in layers.items():
        weight = (random.standard_normal((size, count)) / np.sqrt(size)).astype(np.float32)
        numbers.append(numpy_helper.from_array(weight, f"{name} weight"))
        nodes.append(helper.make_node("MatMul", [value, f"{name} weight"], [f"{name} dense"]))
        nodes.append(helper.make_node(activation, [f"{name} dense"], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count]))
        value, size = name, count
    graph = helper.make_graph(nodes, "g", [graph_input], outputs, numbers)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files as they are published: one graph with both outputs, and the names of styles."""
    folder = tmp_path / "essentia"
    folder.mkdir()
    layers = {"embeddings": (1280, "Relu"), "activations": (400, "Sigmoid")}
    write_graph(folder / DISCOGS.weights.file, [128, 96], layers)
    classes = [f"{genre}---{style}" for genre, style in STYLES]
    (folder / DISCOGS.further[0].file).write_text(json.dumps({"classes": classes}))
    return folder


def paths(folder: Path) -> tuple[Path, Path]:
    return folder / DISCOGS.weights.file, folder / DISCOGS.further[0].file


def expected(folder: Path, segments: np.ndarray, head: bool) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and embeddings by the graphs one after the other."""
    session = onnx_session((folder / DISCOGS.weights.file).read_bytes())
    name = session.get_inputs()[0].name
    embedding, styles = session.run(
        ["embeddings", "activations"], {name: segments.transpose(0, 2, 1)}
    )
    if head:
        top = onnx_session((folder / HEAD_FILE).read_bytes())
        (styles,) = top.run(["activations"], {top.get_inputs()[0].name: embedding})
    return styles, embedding


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("opset", [13, 18])
def test_one_graph_gives_what_the_published_ones_give(folder: Path, head: bool, opset: int) -> None:
    layers = {"embeddings": (1280, "Relu"), "activations": (400, "Sigmoid")}
    write_graph(folder / DISCOGS.weights.file, [128, 96], layers, opset)
    if head:
        # Values of the same names as in the extractor, but others.
        layers = {"embeddings": (64, "Relu"), "activations": (400, "Sigmoid")}
        write_graph(folder / HEAD_FILE, [1280], layers, opset, seed=1)
    bundle = make_style_bundle(DISCOGS, *paths(folder))
    session = onnx_session(bundle.model)
    segments = np.random.default_rng(0).standard_normal((3, 96, 128)).astype(np.float32)
    logits, embedding = session.run(["logits", "embedding"], {"segments": segments})
    styles, embedded = expected(folder, segments, head)
    assert logits.shape == (3, 401)
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    np.testing.assert_allclose(probabilities[:, :400], styles, atol=1e-5)
    np.testing.assert_allclose(embedding, embedded, rtol=1e-6)
    spoken = styles[:, [i for i, (genre, _) in enumerate(STYLES) if genre == "Non-Music"]]
    np.testing.assert_allclose(probabilities[:, 400], 1 - spoken.max(axis=1), atol=1e-5)


def test_genres_styles_and_their_spelling(folder: Path) -> None:
    head = style_head(read_styles(paths(folder)[1]))
    assert list(head.genres) == ["electronic", "funk / soul", "hiphop", "rock"]
    assert head.genres["electronic"].labels == tuple(range(80))
    assert head.styles["UK Garage"] == 0
    assert head.style_genres["UK Garage"] == "electronic"
    assert (head.styles["Experimental (Electronic)"], head.styles["Experimental (Rock)"]) == (
        1,
        300,
    )
    assert not any("Style 160" in name for name in head.styles), "it is no music"
    spelt = [genre_name(name) for name in ("UK Garage", "funk / soul", "hiphop")]
    assert spelt == ["UK Garage", "Funk / Soul", "Hip-Hop"]


def test_the_command_makes_a_model_that_classifies(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    words = ["models", "fetch", "discogs400", "--weights", str(folder)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.exception
    assert "CC-BY-NC-SA-4.0: not for commercial use" in done.stderr
    classifier = Classifier.load("discogs400")
    assert classifier.manifest.licence == "CC-BY-NC-SA-4.0"
    random = np.random.default_rng(0)
    sound = Waveform(random.uniform(-0.3, 0.3, 16000 * 5).astype(np.float32), 16000)
    found = classifier.predict(sound)
    assert found.embedding.shape == (1280,)
    assert found.labels is not None
    # Essentia's patches: 128 frames of 16 ms, one begins 62 frames after the other.
    windows = classifier.manifest.frontend.windows(sound)
    starts = [s.start for w in windows for s in classifier.manifest.frontend.segments_of(w)]
    np.testing.assert_allclose(np.diff(starts)[:2], 62 * 256 / 16000)


def test_other_files_are_refused_in_one_line(folder: Path) -> None:
    extractor, metadata = paths(folder)
    classes = json.loads(metadata.read_text())["classes"]
    for content in ("no json", "[]", json.dumps({"classes": classes[:-1]})):
        other = folder / "other.json"
        other.write_text(content)
        with pytest.raises(FileError, match=r"other\.json"):
            read_styles(other)
    layers = {"embeddings": (1280, "Relu")}
    write_graph(extractor, [128, 96], layers)
    with pytest.raises(FileError, match="gives no 400 styles"):
        make_style_bundle(DISCOGS, extractor, metadata)
    write_graph(extractor, [64, 96], layers)
    with pytest.raises(FileError, match=r"expected one from \[n, 128, 96\]"):
        make_style_bundle(DISCOGS, extractor, metadata)
    extractor.write_bytes(b"no graph")
    with pytest.raises(FileError, match="not a graph that can be run"):
        make_style_bundle(DISCOGS, extractor, metadata)
