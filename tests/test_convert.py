"""Bundles with smaller weights: what is written, measured and refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from clips import RATE, music, write_wav
from genrescope import Bundle, Classifier, Waveform
from genrescope.cli.convert import convert as command
from genrescope.datasets import Dataset, read_dataset
from genrescope.errors import BundleError, DatasetError, GenrescopeError
from genrescope.features import Frontend, SegmentSettings
from genrescope.inference import Manifest
from genrescope.training.bundles import make_bundle
from genrescope.training.convert import convert
from genrescope.training.graphs import whole_graph

onnx = pytest.importorskip("onnx")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is measured only twice, since its value does not matter here."""
    monkeypatch.setattr("genrescope.training.convert._TIMINGS", 2)


@pytest.fixture(scope="module")
def original() -> Bundle:
    """The default model without its detector, which takes some of the clips for no music."""
    bundle = Bundle.load("default")
    manifest = bundle.manifest.model_copy(update={"music_detector": None})
    return replace(bundle, manifest=manifest)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine tracks of two genres that the model knows, and one that it does not."""
    root = tmp_path_factory.mktemp("music")
    for number, genre in enumerate(("jazz", "metal", "polka")):
        (root / genre).mkdir()
        for i in range(3):
            path = root / genre / f"{genre}{i}.wav"
            write_wav(path, 3, seed=10 * number + i, pitch=110.0 * (1 + number) + 37 * i)
    return root


@pytest.fixture(scope="module")
def data(folder: Path) -> Dataset:
    return read_dataset(folder)


def with_weights_apart(bundle: Bundle, large: int = 1000) -> Bundle:
    """The same bundle with its weights outside the graph."""
    fields = {name: getattr(bundle.manifest, name) for name in Manifest.model_fields}
    return make_bundle(whole_graph(bundle), large=large, **fields)


def answers(bundle: Bundle, tracks: list) -> np.ndarray:
    classifier = Classifier(bundle)
    predictions = (classifier.predict(track.path).probabilities for track in tracks)
    return np.array([[row[genre] for genre in classifier.genres] for row in predictions])


def test_half_precision_is_half_the_size_and_says_the_same(original: Bundle) -> None:
    made, conversion, _ = convert(original, "fp16")
    assert conversion.bytes.before == len(original.model)
    assert conversion.bytes.after == len(made.model) < 0.52 * len(original.model)
    waveform = Waveform(music(20), RATE)
    before, after = (Classifier(bundle).predict(waveform) for bundle in (original, made))
    assert before.genre == after.genre
    differences = [abs(after.probabilities[g] - p) for g, p in before.probabilities.items()]
    assert 0 < max(differences) < 2e-3
    # Only what is large is rounded: inputs, outputs and biases are single precision.
    graph = onnx.load_from_string(made.model).graph
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    kinds = {len(tensor.dims) > 1: tensor.data_type for tensor in graph.initializer}
    assert kinds == {True: onnx.TensorProto.FLOAT16, False: onnx.TensorProto.FLOAT}


def test_the_rounded_weights_are_the_nearest(original: Bundle) -> None:
    made, _, _ = convert(original, "fp16")
    before = {t.name: t for t in onnx.load_from_string(original.model).graph.initializer}
    after = {t.name: t for t in onnx.load_from_string(made.model).graph.initializer}
    halved = [name for name in before if f"{name}/half" in after]
    assert len(halved) >= 9
    for name in halved:
        expected = onnx.numpy_helper.to_array(before[name]).astype(np.float16)
        assert np.array_equal(onnx.numpy_helper.to_array(after[f"{name}/half"]), expected)


def test_what_half_precision_cannot_hold_stays(original: Bundle) -> None:
    graph = onnx.load_from_string(original.model)
    large = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = onnx.numpy_helper.to_array(large).copy()
    values.flat[0] = 1e5
    large.CopyFrom(onnx.numpy_helper.from_array(values, large.name))
    fields = {name: getattr(original.manifest, name) for name in Manifest.model_fields}
    made, _, _ = convert(make_bundle(graph.SerializeToString(), **fields), "fp16")
    kept = {t.name: t for t in onnx.load_from_string(made.model).graph.initializer}
    assert np.array_equal(onnx.numpy_helper.to_array(kept[large.name]), values)


def test_dynamic_bytes(original: Bundle) -> None:
    made, conversion, failures = convert(original, "int8")
    assert (conversion.method, conversion.agreement, failures) == ("dynamic", None, [])
    assert len(made.model) < 0.3 * len(original.model)
    waveform = Waveform(music(20), RATE)
    before, after = (Classifier(bundle).predict(waveform) for bundle in (original, made))
    differences = [abs(after.probabilities[g] - p) for g, p in before.probabilities.items()]
    assert 0 < np.mean(differences) < 0.02


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_measured_loss_is_that_of_predictions(
    original: Bundle, data: Dataset, precision: str
) -> None:
    seen: list[tuple[int, int]] = []
    made, conversion, failures = convert(
        original, precision, data, report=lambda done, of: seen.append((done, of))
    )
    assert failures == []
    assert seen == [(i + 1, 9) for i in range(9)]
    # Every fourth track calibrates bytes, and has no say then.
    compared = [t for i, t in enumerate(data.tracks) if precision == "fp16" or i % 4]
    agreement = conversion.agreement
    assert agreement is not None
    assert agreement.tracks == len(compared) == (9 if precision == "fp16" else 6)
    before, after = answers(original, compared), answers(made, compared)
    assert agreement.mean_difference == pytest.approx(np.abs(before - after).mean())
    predicted = before.argmax(axis=1), after.argmax(axis=1)
    assert agreement.same_genre == np.mean(predicted[0] == predicted[1])
    genres = original.manifest.genres
    known = [i for i, track in enumerate(compared) if track.genre in genres]
    assert agreement.known_genre == len(known) > 0
    truth = np.array([genres.index(compared[i].genre) for i in known])
    assert agreement.accuracy is not None and agreement.mcnemar is not None
    assert agreement.accuracy.before == np.mean(predicted[0][known] == truth)
    assert agreement.accuracy.after == np.mean(predicted[1][known] == truth)
    right = [genres[known] == truth for genres in predicted]
    assert agreement.mcnemar.only_a == int((right[0] & ~right[1]).sum())


def test_the_figures_go_with_the_bundle(original: Bundle, data: Dataset, tmp_path: Path) -> None:
    made, conversion, _ = convert(original, "int8", data)
    made.save(tmp_path / "small")
    again = Bundle.load(tmp_path / "small").manifest
    assert again.metrics["converted"] == json.loads(json.dumps(conversion.to_dict()))
    assert conversion.method == "static, by the ranges of 3 tracks"
    assert again.name == "default-int8"
    expected = {**original.manifest.metrics, "converted": again.metrics["converted"]}
    assert again.metrics == expected
    assert (again.genres, again.frontend) == (original.manifest.genres, original.manifest.frontend)
    assert again.temperature == original.manifest.temperature
    assert again.metrics["converted"]["original"] == {
        "name": "default",
        "sha256": original.manifest.sha256,
    }


def test_the_same_tracks_give_the_same_bundle(original: Bundle, data: Dataset) -> None:
    one, other = (convert(original, "int8", data)[0] for _ in range(2))
    assert one.model == other.model


def test_genres_that_are_not_the_models(original: Bundle, data: Dataset) -> None:
    polka = [track for track in data.tracks if track.genre == "polka"]
    _, conversion, _ = convert(original, "fp16", Dataset("polka", "folders", polka, []))
    agreement = conversion.agreement
    assert agreement is not None
    assert (agreement.tracks, agreement.known_genre) == (3, 0)
    assert agreement.accuracy is None and agreement.mcnemar is None


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_weights_outside_the_graph_are_converted_too(original: Bundle, precision: str) -> None:
    large = with_weights_apart(original)
    assert large.weights is not None
    assert onnx.load_from_string(whole_graph(large)) == onnx.load_from_string(original.model)
    inside, _, _ = convert(large, precision)
    outside, conversion, _ = convert(large, precision, large=1000)
    assert inside.weights is None and outside.weights is not None
    assert conversion.bytes.after == len(outside.model) + len(outside.weights)
    assert conversion.original["weights_sha256"] == large.manifest.weights_sha256
    expected, _, _ = convert(original, precision)
    assert inside.model == expected.model
    waveform = Waveform(music(12), RATE)
    one, other = (Classifier(bundle).predict(waveform) for bundle in (inside, outside))
    assert one.probabilities == other.probabilities


def test_what_is_refused(original: Bundle, data: Dataset) -> None:
    made, _, _ = convert(original, "fp16")
    with pytest.raises(BundleError, match="was converted before"):
        convert(made, "int8")
    one = Dataset("one", "folders", data.tracks[:1], [])
    with pytest.raises(DatasetError, match="needs at least two tracks"):
        convert(original, "int8", one)
    foreign = with_weights_apart(original)
    graph = onnx.load_from_string(foreign.model)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            entry.value = entry.value.replace("model.onnx.data", "/etc/hostname")
    with pytest.raises(BundleError, match="can't be run"):
        convert(Bundle(foreign.manifest, graph.SerializeToString(), foreign.weights), "fp16")
    with pytest.raises(BundleError, match="another file"):
        whole_graph(Bundle(foreign.manifest, graph.SerializeToString(), foreign.weights))


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_model_without_large_weights(precision: str) -> None:
    pytest.importorskip("torch")
    from test_inference import small_bundle

    stored = Frontend(
        feature={"kind": "stored", "name": "net", "width": 4, "seconds": 2.0},
        scale="none",
        segments=SegmentSettings(seconds=2, overlap=0),
    )
    with pytest.raises(BundleError, match=f"would not become smaller by {precision}"):
        convert(small_bundle(stored, "mean_probability"), precision)


def test_tracks_that_cannot_be_decoded_are_left_out(
    original: Bundle, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "jazz").mkdir()
    for i in range(6):
        write_wav(tmp_path / "jazz" / f"{i}.wav", 2, seed=i)
    (tmp_path / "jazz" / "0.wav").write_bytes(b"no music")
    (tmp_path / "jazz" / "1.wav").write_bytes(b"no music")
    soundfile.write(tmp_path / "jazz" / "2.wav", np.zeros(3 * RATE), RATE)
    _, conversion, failures = convert(original, "int8", read_dataset(tmp_path))
    assert conversion.agreement is not None
    assert (conversion.method, conversion.agreement.tracks) == (
        "static, by the ranges of 1 track",
        2,
    )
    assert sorted(Path(f.path).name for f in failures) == ["0.wav", "1.wav", "2.wav"]
    for name in ("3", "4", "5"):
        (tmp_path / "jazz" / f"{name}.wav").write_bytes(b"no music")
    for precision in ("fp16", "int8"):
        with pytest.raises(DatasetError, match="could be decoded"):
            convert(original, precision, read_dataset(tmp_path))


class TestCommand:
    """genrescope convert"""

    @staticmethod
    def run(*words: str | Path):
        app = typer.Typer()
        app.command()(command)
        return CliRunner().invoke(app, [str(word) for word in words])

    def test_a_table_and_a_bundle(self, folder: Path, tmp_path: Path) -> None:
        done = self.run("default", "-p", "int8", "--data", folder, "--out", tmp_path / "small")
        assert done.exit_code == 0, done.output
        sizes = re.search(r"Size\s+│\s+(\d\.\d) MB\s+│\s+(\d+\.\d) kB\s+│\s+(\d+) %", done.stdout)
        assert sizes is not None, done.stdout
        before, after, part = map(float, sizes.groups())
        after /= 1000
        assert 100 * after / before == pytest.approx(part, abs=1.5)
        assert part < 35
        assert "Time per segment" in done.stdout
        assert re.search(r"Accuracy on \d tracks", done.stdout)
        assert "6 tracks of" in done.stdout and "McNemar p = " in done.stdout
        prediction = Classifier.load(tmp_path / "small").predict(folder / "jazz" / "jazz0.wav")
        assert sum(prediction.probabilities.values()) == pytest.approx(1)

    def test_json(self, tmp_path: Path) -> None:
        done = self.run("default", "-p", "fp16", "--out", tmp_path / "small", "-f", "json")
        fields = json.loads(done.stdout)
        saved = json.loads((tmp_path / "small" / "bundle.json").read_text())
        assert fields == saved["metrics"]["converted"]
        assert fields["agreement"] is None
        assert set(fields["bytes"]) == set(fields["ms_per_segment"]) == {"before", "after"}

    def test_a_folder_that_is_not_empty_is_left_alone(self, tmp_path: Path) -> None:
        Bundle.load("default").save(tmp_path)
        before = (tmp_path / "model.onnx").read_bytes()
        done = self.run(tmp_path, "-p", "fp16", "--out", tmp_path)
        assert isinstance(done.exception, GenrescopeError)
        assert "is not an empty folder" in str(done.exception)
        assert (tmp_path / "model.onnx").read_bytes() == before
        done = self.run("default", "-p", "fp16", "--out", tmp_path / "model.onnx")
        assert "is not an empty folder" in str(done.exception)

    def test_a_file_that_cannot_be_decoded_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "jazz").mkdir()
        write_wav(tmp_path / "jazz" / "a.wav", 2)
        (tmp_path / "jazz" / "b.wav").write_bytes(b"no music")
        out = tmp_path / "small"
        done = self.run("default", "-p", "fp16", "--data", tmp_path, "--out", out)
        assert done.exit_code == 1
        assert "b.wav" in done.stderr
        assert Bundle.load(out).manifest.metrics["converted"]["agreement"]["tracks"] == 1
