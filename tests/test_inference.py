"""The shipped model through the real classifier: predictions, timelines, bundles."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import tracemalloc
import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import soxr

import genrescope
from clips import RATE, music, write_wav
from genrescope import (
    AudioError,
    Bundle,
    CancelledError,
    Classifier,
    GenrescopeError,
    SegmentPrediction,
    Waveform,
)
from genrescope.aggregation import RULES, aggregate
from genrescope.audio import load
from genrescope.errors import BundleError, FileError
from genrescope.features import Frontend, SegmentSettings
from genrescope.inference import Prediction, shipped_bundles
from genrescope.inference.bundle import Manifest
from genrescope.inference.sections import find_sections, shares_of


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load("default")


def same(one: Prediction, other: Prediction) -> bool:
    return (
        one.probabilities == other.probabilities
        and one.timeline == other.timeline
        and np.array_equal(one.embedding, other.embedding)
    )


def test_a_prediction_is_whole(classifier: Classifier, tmp_path: Path) -> None:
    prediction = classifier.predict(write_wav(tmp_path / "a.wav", 40))
    assert prediction.genre == max(prediction.probabilities, key=prediction.probabilities.get)
    assert prediction.confidence == prediction.probabilities[prediction.genre]
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert (
        list(prediction.probabilities.values()) == sorted(prediction.probabilities.values())[::-1]
    )
    assert sorted(prediction.probabilities) == classifier.genres
    assert prediction.duration == pytest.approx(40, abs=0.01)
    assert prediction.embedding.shape == (classifier.embedding_size,)
    assert prediction.warnings == []


def test_the_timeline_covers_the_track(classifier: Classifier, tmp_path: Path) -> None:
    timeline = classifier.predict(write_wav(tmp_path / "a.wav", 75)).timeline
    assert timeline[0].start == 0
    assert timeline[-1].end == pytest.approx(75, abs=1.0)
    for before, after in pairwise(timeline):
        assert before.start < after.start <= before.end
    for segment in timeline:
        assert sum(segment.probabilities.values()) == pytest.approx(1)
        assert segment.genre in classifier.genres


def test_probabilities_are_aggregated_from_the_timeline(
    classifier: Classifier, tmp_path: Path
) -> None:
    prediction = classifier.predict(write_wav(tmp_path / "a.wav", 20))
    segments = [
        [segment.probabilities[genre] for genre in classifier.genres]
        for segment in prediction.timeline
    ]
    aggregated = aggregate(np.array(segments), classifier.manifest.aggregation)
    for genre, value in zip(classifier.genres, aggregated, strict=True):
        assert prediction.probabilities[genre] == pytest.approx(value)


def test_the_same_input_gives_the_same_output_bit_for_bit(
    classifier: Classifier, tmp_path: Path
) -> None:
    files = [write_wav(tmp_path / f"{i}.wav", 5 + i, seed=i) for i in range(8)]
    alone = [classifier.predict(file) for file in files]
    again = list(Classifier.load("default").predict_many(files, jobs=4))
    assert all(map(same, alone, again))
    assert [p.path for p in again] == [str(file) for file in files]


def test_a_waveform_gives_the_prediction_of_its_file(
    classifier: Classifier, tmp_path: Path
) -> None:
    samples, rate = soundfile.read(write_wav(tmp_path / "a.wav", 15), dtype="float32")
    waveform = Waveform(samples, rate)
    assert same(classifier.predict(waveform), classifier.predict(tmp_path / "a.wav"))
    assert classifier.predict(waveform).path is None
    assert np.array_equal(classifier.embed(waveform), classifier.predict(waveform).embedding)


def test_embeddings_of_many_files_are_those_of_each(classifier: Classifier, tmp_path: Path) -> None:
    files = [write_wav(tmp_path / f"{i}.wav", 3 + i, seed=i) for i in range(4)]
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF of nothing")
    *found, failure = classifier.embed_many([*files, bad], ["embedding"], jobs=3)
    for file, layers in zip(files, found, strict=True):
        assert not isinstance(layers, FileError) and list(layers) == ["embedding"]
        assert np.array_equal(layers["embedding"], classifier.embed(file))
    assert isinstance(failure, FileError) and "bad.wav" in str(failure)
    with pytest.raises(ValueError, match="no layer 'middle'"):
        next(classifier.embed_many(files, ["embedding", "middle"]))
    with pytest.raises(TypeError, match="embed_layers takes one"):
        next(classifier.embed_many("song.mp3", ["embedding"]))


def test_a_waveform_at_another_rate(classifier: Classifier) -> None:
    same_rate = classifier.predict(Waveform(music(15), RATE))
    other = classifier.predict(Waveform(music(15, rate=2 * RATE), 2 * RATE))
    assert other.duration == pytest.approx(15, abs=0.01)
    assert other.genre is not None and same_rate.genre is not None


def test_a_bad_file_stands_in_its_place(classifier: Classifier, tmp_path: Path) -> None:
    good = write_wav(tmp_path / "good.wav")
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no music")
    results = list(classifier.predict_many([good, bad, good, tmp_path / "none.mp3"]))
    assert [type(r) for r in results] == [Prediction, AudioError, Prediction, AudioError]
    assert isinstance(results[1], FileError) and results[1].path == str(bad)


@pytest.mark.slow
def test_the_progress_of_many_files_names_each(tmp_path: Path) -> None:
    files = [write_wav(tmp_path / f"{n}.wav", 4 + n, seed=n) for n in range(3)]
    shown: dict[Path, list[SegmentPrediction]] = {file: [] for file in files}
    results = Classifier.load("default").predict_many(
        files, jobs=2, progress=lambda file, new: shown[file].extend(new)
    )
    for file, result in zip(files, results, strict=True):
        assert isinstance(result, Prediction)
        assert shown[file] == result.timeline


def test_an_error_of_ones_own_progress_is_that_of_its_file(tmp_path: Path) -> None:
    files = [write_wav(tmp_path / f"{n}.wav", 4, seed=n) for n in range(2)]

    def show(file: Path, _: list[SegmentPrediction]) -> None:
        if file == files[0]:
            raise KeyError("mine")

    first, second = Classifier.load("default").predict_many(files, progress=show)
    assert isinstance(first, FileError)
    assert isinstance(first.__cause__, KeyError)
    assert isinstance(second, Prediction)
    with pytest.raises(KeyError, match="mine"):
        Classifier.load("default").predict(files[0], progress=lambda new: show(files[0], new))


def test_predict_many_takes_files_only_as_fast_as_it_classifies(
    classifier: Classifier, tmp_path: Path
) -> None:
    file, taken = write_wav(tmp_path / "a.wav", 2), []
    endless = (taken.append(i) or file for i in iter(int, 1))
    results = classifier.predict_many(endless, jobs=2)
    for _ in range(3):
        next(results)
    results.close()
    assert len(taken) < 20


def test_closing_stops_the_files_in_work(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, windows, closing = classifier.network.run, list[int](), threading.Event()

    def counted(*given: Any) -> Any:
        windows.append(1)
        if len(windows) > 3:  # the long files wait, however slow this thread is
            closing.wait(600)
        return run(*given)

    monkeypatch.setattr(classifier.network, "run", counted)
    soundfile.write(tmp_path / "long.wav", np.tile(music(30), 60), RATE, subtype="PCM_16")
    sources = [Waveform(music(3), RATE), *[tmp_path / "long.wav"] * 3]
    results = classifier.predict_many(sources, jobs=1)
    workers = {thread for thread in threading.enumerate() if "genrescope" in thread.name}
    next(results)
    closing.set()
    workers = {t for t in threading.enumerate() if "genrescope" in t.name} - workers
    results.close()
    for worker in workers:
        worker.join(timeout=600)
        assert not worker.is_alive()
    assert len(windows) < 30, "the rest of 60 half minutes was read"


def test_silence_is_no_genre(classifier: Classifier, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(20 * RATE), RATE)
    prediction = classifier.predict(tmp_path / "silent.wav")
    assert prediction.genre is None
    assert prediction.confidence == 0
    assert prediction.timeline == []
    assert "cannot tell" in prediction.warnings[0]
    assert prediction.to_dict()["genre"] is None


def in_pieces(seconds: float, every: int = 3, total: int = 60) -> Waveform:
    """Music in pieces of so many seconds, with silence between them."""
    samples, count = np.zeros(total * RATE, np.float32), round(seconds * RATE)
    sound = music(total)
    for number, start in enumerate(range(0, total, every)):
        samples[start * RATE :][:count] = sound[number * count :][:count]
    return Waveform(samples, RATE)


@pytest.mark.slow
@pytest.mark.parametrize("total", [60, 180])
def test_music_in_pieces_shorter_than_a_second_is_classified(
    classifier: Classifier, total: int
) -> None:
    """As the same pieces without the silence between them are, up to half a minute."""
    prediction = classifier.predict(in_pieces(0.95, total=total))
    joined = classifier.predict(Waveform(music(min(30, 0.95 * total / 3)), RATE))
    assert prediction.genre == joined.genre
    assert prediction.confidence == pytest.approx(joined.confidence, abs=0.1)
    assert prediction.duration == total
    assert prediction.warnings == []


def test_less_than_a_second_in_short_pieces_tells_nothing(classifier: Classifier) -> None:
    prediction = classifier.predict(in_pieces(0.3, every=20))
    assert prediction.genre is None
    assert prediction.warnings == ["silence, and less than a second of sound: cannot tell a genre"]


def test_silence_before_music_has_no_segments(classifier: Classifier) -> None:
    sound = music(40)
    late = np.concatenate([np.zeros(60 * RATE, np.float32), sound])
    timeline = classifier.predict(Waveform(late, RATE)).timeline
    assert min(segment.start for segment in timeline) > 50


@pytest.mark.parametrize("after", [5, 25, 55])
def test_music_before_silence_is_classified(classifier: Classifier, after: int) -> None:
    sound = np.concatenate([music(5), np.zeros(after * RATE, np.float32)])
    prediction = classifier.predict(Waveform(sound, RATE))
    assert prediction.genre is not None
    assert prediction.warnings == []


@pytest.mark.parametrize("seconds", [0.3, 1.0, 7.3, 60.0])
@pytest.mark.parametrize("kind", ["digital", "one step", "-96 dB", "two steps", "shaped"])
def test_inaudible_noise_next_to_music_changes_nothing(
    classifier: Classifier, kind: str, seconds: float
) -> None:
    random, count = np.random.default_rng(0), round(seconds * RATE)
    quiet = {
        "digital": np.zeros(count),
        "one step": random.integers(-1, 2, count) / 32768,
        "-96 dB": random.standard_normal(count) * 10 ** (-96 / 20),
        "two steps": random.choice([-2, 2], count) / 32768,
        # Triangular dither of 16 bits, pushed to high frequencies.
        "shaped": np.convolve(
            (random.random(count) - random.random(count)) / 32768, [1, -2.4, 2.2, -0.9], "same"
        ),
    }[kind].astype(np.float32)
    sound = music(31)
    alone = classifier.predict((sound, RATE))
    for parts in ([quiet, sound], [sound, quiet], [quiet, sound, quiet]):
        prediction = classifier.predict((np.concatenate(parts), RATE))
        assert prediction.genre == alone.genre
        assert prediction.confidence == pytest.approx(alone.confidence, abs=0.02)
        assert prediction.warnings == []
    if seconds > 1:
        nothing = classifier.predict((quiet, RATE))
        assert nothing.genre is None
        assert "cannot tell" in nothing.warnings[0]


@pytest.mark.parametrize("codec", ["libmp3lame", "aac"])
def test_dither_is_silence_after_coding(classifier: Classifier, codec: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.mp3" if codec == "libmp3lame" else "a.m4a")
    steps = np.random.default_rng(0).integers(-1, 2, (1, 12 * 44100)).astype(np.int16)
    sound = (20000 * music(20, rate=44100))[None].astype(np.int16)
    for samples, genre in ((steps, False), (np.concatenate([steps, sound], 1), True)):
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=44100, layout="mono")
            stream.bit_rate = 128_000
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = 44100
            resampler = av.AudioResampler(
                format=stream.codec_context.format, layout="mono", rate=44100,
                frame_size=stream.codec_context.frame_size,
            )  # fmt: skip
            for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
                container.mux(stream.encode(piece))
        prediction = classifier.predict(path)
        assert (prediction.genre is not None) is genre
        if genre:
            assert prediction.timeline[0].start == pytest.approx(12, abs=0.2)


def test_an_unexpected_error_does_not_stop_the_rest(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = write_wav(tmp_path / "a.wav", 2)
    frontend = type(classifier.manifest.frontend)
    windows = frontend.windows

    def faulty(self: object, source: object, *more: object) -> object:
        if Path(source).name == "faulty.wav":
            raise MemoryError("no more")
        return windows(self, source, *more)

    monkeypatch.setattr(frontend, "windows", faulty)
    results = list(classifier.predict_many([good, tmp_path / "faulty.wav", good]))
    assert [type(result) for result in results] == [Prediction, FileError, Prediction]
    assert "unexpected MemoryError: no more" in str(results[1])


def test_one_name_is_not_many(classifier: Classifier) -> None:
    with pytest.raises(TypeError, match="predict takes one"):
        next(classifier.predict_many("song.mp3"))


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.99])
def test_too_short_to_classify(classifier: Classifier, seconds: float) -> None:
    with pytest.raises(AudioError, match="too short to classify"):
        classifier.predict(Waveform(music(seconds), RATE))


@pytest.mark.parametrize("seconds", [1.0, 3.0, 11.0, 29.9, 30.0, 31.5, 59.0, 61.0])
def test_any_length_from_a_second_on(classifier: Classifier, seconds: float) -> None:
    prediction = classifier.predict(Waveform(music(seconds), RATE))
    assert prediction.timeline[-1].end <= prediction.duration + 1e-6
    assert prediction.duration == pytest.approx(seconds, abs=1e-3)


def test_loudness_does_not_matter(classifier: Classifier) -> None:
    loud, quiet = (classifier.predict(Waveform(music(20) * g, RATE)) for g in (1.0, 0.01))
    for genre, value in loud.probabilities.items():
        assert quiet.probabilities[genre] == pytest.approx(value, abs=1e-3)


@pytest.mark.slow
def test_an_hour_needs_the_memory_of_minutes(classifier: Classifier, tmp_path: Path) -> None:
    piece = (music(60) * 20000).astype(np.int16)
    peaks = []
    for minutes in (2, 60):
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
            for _ in range(minutes):
                file.write(piece)
        tracemalloc.start()
        prediction = classifier.predict(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert prediction.duration == pytest.approx(60 * minutes, abs=0.1)
    # Half an hour more adds its timeline (a few hundred small objects), not its sound (150 MB).
    assert peaks[1] - peaks[0] < 5e6


def test_inference_needs_no_torch(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav")
    code = (
        "import sys; from genrescope import Classifier; import genrescope.cli;"
        "Classifier.load().predict(sys.argv[1]);"
        "heavy = {'torch', 'lightning', 'sklearn', 'librosa', 'scipy', 'matplotlib'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, tmp_path / "a.wav"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_import_is_light() -> None:
    code = (
        "import sys, genrescope; print(sorted({'numpy', 'onnxruntime', 'av'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_waveform_that_is_not_finite(classifier: Classifier, value: float) -> None:
    samples = music(3)
    samples[100] = value
    with pytest.raises(AudioError, match="not finite"):
        classifier.predict(Waveform(samples, RATE))


def test_nothing_is_kept_or_reported_about_the_user(tmp_path: Path) -> None:
    code = "from genrescope import Classifier; Classifier.load()"
    clean = {"HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=clean)
    assert list(tmp_path.iterdir()) == []


class TestBundle:
    """A model as data: round trip, and every way it can be wrong."""

    def test_default_is_shipped_and_small(self) -> None:
        assert "default" in shipped_bundles()
        bundle = Bundle.load("default")
        assert len(bundle.model) < 5e6
        assert bundle.manifest.licence
        assert bundle.manifest.provenance["recipe"]["name"] == "default"

    def test_folder_and_zip(self, tmp_path: Path, classifier: Classifier) -> None:
        bundle = Bundle.load("default")
        bundle.save(tmp_path / "copy")
        with zipfile.ZipFile(tmp_path / "copy.zip", "w") as archive:
            for file in (tmp_path / "copy").iterdir():
                archive.write(file, f"inside/{file.name}")
        waveform = Waveform(music(12), RATE)
        for place in ("copy", "copy.zip"):
            assert same(
                Classifier.load(tmp_path / place).predict(waveform), classifier.predict(waveform)
            )

    @pytest.fixture
    def copy(self, tmp_path: Path) -> Path:
        Bundle.load("default").save(tmp_path / "copy")
        return tmp_path / "copy"

    def test_a_changed_network_is_refused(self, copy: Path) -> None:
        model = bytearray((copy / "model.onnx").read_bytes())
        model[len(model) // 2] ^= 1
        (copy / "model.onnx").write_bytes(model)
        with pytest.raises(BundleError, match=r"not the file that bundle.json was made for"):
            Bundle.load(copy)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"schema_version": 4}, "schema version 4"),
            ({"genres": ["one"]}, "not valid"),
            ({"genres": ["a", "b"]}, "one logit a genre"),
            ({"temperature": 0}, "not valid"),
            ({"surprise": 1}, "not valid"),
            (
                {"frontend": {"feature": {"kind": "os"}, "segments": {"seconds": 3}}},
                "no feature 'os'",
            ),
        ],
    )
    def test_a_manifest_that_is_wrong(self, copy: Path, change: dict, words: str) -> None:
        fields = json.loads((copy / "bundle.json").read_text()) | change
        (copy / "bundle.json").write_text(json.dumps(fields))
        with pytest.raises(BundleError, match=words) as caught:
            Classifier.load(copy)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
    def test_a_manifest_that_is_no_manifest(self, copy: Path, content: bytes) -> None:
        (copy / "bundle.json").write_bytes(content)
        with pytest.raises(BundleError):
            Bundle.load(copy)

    def test_a_network_that_is_none(self, copy: Path) -> None:
        (copy / "model.onnx").write_bytes(b"nothing")
        fields = json.loads((copy / "bundle.json").read_text())
        fields["sha256"] = hashlib.sha256(b"nothing").hexdigest()
        (copy / "bundle.json").write_text(json.dumps(fields))
        with pytest.raises(BundleError, match="can't be run"):
            Classifier.load(copy)

    def test_a_network_for_other_segments(self, copy: Path) -> None:
        fields = json.loads((copy / "bundle.json").read_text())
        fields["frontend"]["feature"]["n_mels"] = 64
        (copy / "bundle.json").write_text(json.dumps(fields))
        with pytest.raises(BundleError, match="does not take segments of"):
            Classifier.load(copy)

    def test_weights_from_other_files_are_refused(
        self, copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        onnx = pytest.importorskip("onnx")
        model = onnx.load(str(copy / "model.onnx"))
        onnx.save(
            model, str(copy / "model.onnx"), save_as_external_data=True, location="weights.bin"
        )
        fields = json.loads((copy / "bundle.json").read_text())
        fields["sha256"] = hashlib.sha256((copy / "model.onnx").read_bytes()).hexdigest()
        (copy / "bundle.json").write_text(json.dumps(fields))
        monkeypatch.chdir(copy)
        with pytest.raises(BundleError, match="can't be run"):
            Classifier.load(copy)

    def test_an_archive_that_claims_too_much(self, copy: Path, tmp_path: Path) -> None:
        bomb = tmp_path / "bomb.zip"
        with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bundle.json", bytes(2**24 + 1))
            archive.write(copy / "model.onnx", "model.onnx")
        with pytest.raises(BundleError, match="larger than"):
            Bundle.load(bomb)

    def test_what_is_missing(self, copy: Path, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="no such file; shipped models: default"):
            Bundle.load(tmp_path / "nowhere")
        (copy / "model.onnx").unlink()
        with pytest.raises(BundleError, match=r"no bundle.json and model.onnx"):
            Bundle.load(copy)
        (tmp_path / "file.zip").write_bytes(b"PK no zip")
        with pytest.raises(BundleError, match="not a bundle"):
            Bundle.load(tmp_path / "file.zip")
        shutil.make_archive(str(tmp_path / "empty"), "zip", tmp_path / "copy", "bundle.json")
        with pytest.raises(BundleError, match=r"no bundle.json and model.onnx"):
            Bundle.load(tmp_path / "empty.zip")


@pytest.fixture(scope="module")
def large() -> Bundle:
    pytest.importorskip("onnx")
    from genrescope.training.bundles import make_bundle

    bundle = Bundle.load("default")
    fields = {name: getattr(bundle.manifest, name) for name in Manifest.model_fields}
    return make_bundle(bundle.model, large=1000, **fields)


class TestExternalWeights:
    """Large networks: `model.onnx.data`, and every way it can be wrong."""

    @pytest.fixture
    def copy(self, large: Bundle, tmp_path: Path) -> Path:
        large.save(tmp_path / "copy")
        return tmp_path / "copy"

    @staticmethod
    def zipped(folder: Path) -> Path:
        return Path(shutil.make_archive(str(folder), "zip", folder))

    @staticmethod
    def rewritten(folder: Path, **place: str) -> Path:
        """The bundle with its graph naming another place for the weights, and a right SHA-256."""
        import onnx

        model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                entry.value = place.get(entry.key, entry.value)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        fields = json.loads((folder / "bundle.json").read_text())
        fields["sha256"] = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
        (folder / "bundle.json").write_text(json.dumps(fields))
        return folder

    def test_the_graph_is_small_and_predicts_the_same(
        self, large: Bundle, copy: Path, classifier: Classifier
    ) -> None:
        whole = len(Bundle.load("default").model)
        assert len(large.model) < whole / 50
        assert whole - len(large.model) < (copy / "model.onnx.data").stat().st_size < whole + 2**16
        waveform = Waveform(music(12), RATE)
        for place in (copy, self.zipped(copy)):
            assert Bundle.load(place) == large
            assert same(Classifier.load(place).predict(waveform), classifier.predict(waveform))

    def test_small_bundles_are_as_they_were(self, copy: Path) -> None:
        assert "weights_sha256" in json.loads((copy / "bundle.json").read_text())
        Bundle.load("default").save(copy)
        assert sorted(p.name for p in copy.iterdir()) == ["bundle.json", "model.onnx"]
        assert "weights_sha256" not in json.loads((copy / "bundle.json").read_text())
        assert Bundle.load(copy) == Bundle.load("default")

    def test_changed_weights_are_refused(self, copy: Path) -> None:
        weights = bytearray((copy / "model.onnx.data").read_bytes())
        for damaged in (weights[:-1], weights + b"x", bytes([weights[0] ^ 1]) + weights[1:], b""):
            (copy / "model.onnx.data").write_bytes(damaged)
            for place in (copy, self.zipped(copy)):
                with pytest.raises(BundleError, match=r"model.onnx.data is not the file that"):
                    Bundle.load(place)

    def test_missing_weights_are_refused(self, copy: Path) -> None:
        (copy / "model.onnx.data").unlink()
        for place in (copy, self.zipped(copy)):
            with pytest.raises(BundleError, match=r"model.onnx.data is missing"):
                Bundle.load(place)

    @pytest.mark.parametrize(
        "location",
        [
            "weights.bin",
            "../weights.bin",
            "sub/model.onnx.data",
            "../copy/model.onnx.data",
            "{folder}/model.onnx.data",
            "",
        ],
    )
    def test_a_graph_reads_no_other_file(
        self, copy: Path, location: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Every one of these files is there and holds the right bytes, seen from where we stand.
        weights = (copy / "model.onnx.data").read_bytes()
        (copy / "sub").mkdir()
        for file in ("weights.bin", "../weights.bin", "sub/model.onnx.data"):
            (copy / file).write_bytes(weights)
        monkeypatch.chdir(copy)
        self.rewritten(copy, location=location.format(folder=copy))
        with pytest.raises(BundleError, match="can't be run"):
            Classifier.load(copy)

    def test_weights_that_the_manifest_does_not_name_are_not_read(
        self, copy: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fields = json.loads((copy / "bundle.json").read_text())
        del fields["weights_sha256"]
        (copy / "bundle.json").write_text(json.dumps(fields))
        monkeypatch.chdir(copy)
        with pytest.raises(BundleError, match="can't be run"):
            Classifier.load(copy)

    @pytest.mark.parametrize("offset", ["-4096", "1000000000", str(2**63 - 8), "none"])
    def test_places_outside_the_file_are_refused(self, copy: Path, offset: str) -> None:
        self.rewritten(copy, offset=offset)
        with pytest.raises(BundleError, match="can't be run"):
            Classifier.load(copy)

    def test_an_archive_of_too_much(self, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from genrescope.inference import bundle

        size = (copy / "model.onnx.data").stat().st_size
        monkeypatch.setitem(bundle._LARGEST, "model.onnx.data", size - 1)
        with pytest.raises(BundleError, match=r"model\.onnx\.data is larger than"):
            Bundle.load(self.zipped(copy))

    def test_an_interrupted_write_is_noticed(
        self, copy: Path, large: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from genrescope.inference import bundle

        def full(path: Path, content: bytes) -> None:
            if path.name == "model.onnx":
                raise OSError(28, "No space left on device")
            path.write_bytes(content)

        monkeypatch.setattr(bundle, "write_atomic", full)
        for folder in (copy, copy.parent / "new"):
            with pytest.raises(OSError, match="No space"):
                Bundle(large.manifest, large.model, b"other weights").save(folder)
            with pytest.raises(BundleError):
                Bundle.load(folder)

    def test_neither_torch_nor_onnx_is_needed(self, copy: Path) -> None:
        write_wav(copy / "a.wav")
        code = (
            "import sys; from genrescope import Classifier;"
            "Classifier.load(sys.argv[1]).predict(sys.argv[2]);"
            "print(sorted({'torch', 'onnx', 'sklearn', 'librosa'} & set(sys.modules)))"
        )
        command = [sys.executable, "-c", code, copy, copy / "a.wav"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def small_bundle(frontend: Frontend, aggregation: str) -> Bundle:
    """An untrained network for the segments of a front end."""
    import torch

    from genrescope.encoders.graph import to_onnx
    from genrescope.models import make_model

    torch.manual_seed(0)
    network = make_model({"kind": "mlp", "hidden": [8]}, shape=frontend.shape, genres=3)
    size, frames = frontend.shape
    model = to_onnx(network, (size, frames), ("logits", "embedding"))
    manifest = Manifest(
        name="small",
        genres=["a", "b", "c"],
        frontend=frontend,
        aggregation=aggregation,  # type: ignore[arg-type]
        temperature=0.1,
        provenance={},
        metrics={},
        licence="Apache-2.0",
        sha256=hashlib.sha256(model).hexdigest(),
    )
    return Bundle(manifest, model)


@pytest.mark.needs("train")
class TestVectorsAndPools:
    """Models of vectors that were computed elsewhere, and of statistics over a segment."""

    STORED = Frontend(
        feature={"kind": "stored", "name": "net", "width": 4, "seconds": 2.0},
        scale="none",
        segments=SegmentSettings(seconds=2, overlap=0),
    )
    POOLED = Frontend(
        feature={"kind": "mfcc", "n_mfcc": 13},
        scale="none",
        segments=SegmentSettings(seconds=3, overlap=0.5),
        pool=("mean", "std"),
    )

    def test_stored_vectors_are_classified(self) -> None:
        classifier = Classifier(small_bundle(self.STORED, "majority"))
        vectors = np.random.default_rng(0).normal(size=(7, 4))
        prediction = classifier.predict(vectors)
        assert prediction.path is None
        assert (prediction.duration, len(prediction.timeline)) == (14, 7)
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        one = classifier.predict(vectors[3])
        assert one.genre == prediction.timeline[3].genre
        assert one.timeline[0].probabilities == prediction.timeline[3].probabilities
        named = [segment.genre for segment in prediction.timeline]
        assert len(set(named)) > 1  # or there would be nothing to aggregate
        assert named.count(prediction.genre) == max(map(named.count, named))

    def test_the_bundle_names_the_aggregation(self) -> None:
        vectors = np.random.default_rng(1).normal(size=(9, 4))
        by_aggregation = {
            aggregation: Classifier(small_bundle(self.STORED, aggregation)).predict(vectors)
            for aggregation in RULES.names()
        }
        rows = [s.probabilities for s in by_aggregation["mean_probability"].timeline]
        table = np.array([[row[genre] for genre in "abc"] for row in rows])
        for aggregation, prediction in by_aggregation.items():
            expected = dict(zip("abc", aggregate(table, aggregation), strict=True))  # type: ignore[arg-type]
            assert prediction.probabilities == pytest.approx(expected)
        assert (
            by_aggregation["mean_probability"].probabilities
            != by_aggregation["majority"].probabilities
        )

    def test_audio_is_no_vector(self, tmp_path: Path) -> None:
        sound = write_wav(tmp_path / "a.wav")
        stored = Classifier(small_bundle(self.STORED, "mean_probability"))
        with pytest.raises(FileError, match="this model takes stored vectors"):
            stored.predict(sound)
        with pytest.raises(FileError, match="expected 4 finite numbers in each"):
            stored.predict(np.zeros((3, 5)))
        with pytest.raises(FileError, match="takes audio, not stored vectors"):
            Classifier(small_bundle(self.POOLED, "mean_probability")).predict(np.zeros((3, 4)))
        results = list(stored.predict_many([np.zeros(4), sound]))
        assert [type(result) for result in results] == [Prediction, FileError]

    @pytest.mark.parametrize(("seconds", "segments"), [(1.2, 1), (12, 7)])
    def test_pooled_features_are_classified(self, seconds: float, segments: int) -> None:
        classifier = Classifier(small_bundle(self.POOLED, "mean_probability"))
        prediction = classifier.predict(Waveform(music(seconds), RATE))
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert len(prediction.timeline) == segments
        # A last segment that begins less than a tenth of a step later is left out: 0.15 s.
        assert prediction.timeline[-1].end == pytest.approx(seconds, abs=0.15)

    @pytest.mark.parametrize("frontend", [STORED, POOLED], ids=["stored", "pooled"])
    def test_aggregation_and_pool_are_kept_in_the_bundle(
        self, frontend: Frontend, tmp_path: Path
    ) -> None:
        bundle = small_bundle(frontend, "majority")
        bundle.save(tmp_path / "kept")
        fields = json.loads((tmp_path / "kept/bundle.json").read_text())
        assert fields["aggregation"] == "majority"
        assert tuple(fields["frontend"]["pool"]) == frontend.pool
        again = Classifier.load(tmp_path / "kept")
        assert again.manifest == bundle.manifest
        source = (
            np.random.default_rng(0).normal(size=(5, 4))
            if frontend.pool == ()
            else Waveform(music(12), RATE)
        )
        assert same(Classifier(bundle).predict(source), again.predict(source))


@pytest.mark.slow
class TestWhatCanBePredicted:
    """Paths, bytes, file objects, waveforms and arrays; cancelling; values that behave."""

    @pytest.fixture
    def song(self, tmp_path: Path) -> Path:
        return write_wav(tmp_path / "song.wav", 12)

    def test_content_is_classified_as_its_file(self, classifier: Classifier, song: Path) -> None:
        by_path = classifier.predict(song)
        content = song.read_bytes()
        with song.open("rb") as file, tempfile.SpooledTemporaryFile() as spooled:
            spooled.write(content)
            spooled.seek(0)
            for source in (content, file, io.BytesIO(content), spooled):
                prediction = classifier.predict(source)
                assert same(prediction, by_path)
                assert prediction.path is None
                assert prediction.warnings == []
        samples, rate = soundfile.read(song)  # float64
        assert same(classifier.predict((samples, rate)), by_path)
        assert same(classifier.predict((np.stack([samples, samples], 1), rate)), by_path)

    @pytest.mark.parametrize("inverted", ["all", "half"])
    def test_an_inverted_channel_changes_no_genre(
        self, classifier: Classifier, tmp_path: Path, inverted: str
    ) -> None:
        sound = music(40)
        channels = np.stack([sound, sound], 1)
        channels[0 if inverted == "all" else len(sound) // 2 :, 1] *= -1
        soundfile.write(tmp_path / "a.flac", channels, RATE)
        plain = classifier.predict((sound, RATE))
        for source in (tmp_path / "a.flac", (channels, RATE)):
            prediction = classifier.predict(source)
            assert prediction.genre == plain.genre
            assert prediction.confidence == pytest.approx(plain.confidence, abs=0.02)
            (warning,) = prediction.warnings
            assert "opposite phase" in warning

    @pytest.mark.parametrize(
        ("source", "error"),
        [
            (b"", r"^bytes: empty \(0 bytes\)$"),
            (b"no music" * 100, "^bytes: not audio"),
            (io.BytesIO(b"no music" * 100), "^file object: not audio"),
            (io.StringIO("text"), "^file object: not readable"),
            (b"ffconcat version 1.0\nfile secret.mp3\n", "^bytes: not audio"),
        ],
    )
    def test_no_temporary_file_is_named(
        self, classifier: Classifier, source: object, error: str
    ) -> None:
        with pytest.raises(AudioError, match=error):
            classifier.predict(source)
        (failure,) = classifier.predict_many([source])
        assert isinstance(failure, FileError)
        assert tempfile.gettempdir() not in str(failure)

    def test_a_damaged_content_warns_without_a_name(
        self, classifier: Classifier, song: Path
    ) -> None:
        content = song.read_bytes()[: -len(song.read_bytes()) // 3]
        (warning,) = classifier.predict(content).warnings
        assert warning.startswith("cut short")

    def test_cancel(self, classifier: Classifier, song: Path) -> None:
        event = threading.Event()
        assert classifier.predict(song, cancel=event) == classifier.predict(song)
        event.set()
        with pytest.raises(CancelledError):
            classifier.predict(song, cancel=event)
        with pytest.raises(CancelledError):
            list(classifier.predict_many([song] * 3, cancel=event))

        class AfterTwo:
            asked = 0

            def is_set(self) -> bool:
                self.asked += 1
                return self.asked > 2

        long = Waveform(np.tile(music(30), 20), RATE)
        after_two = AfterTwo()
        with pytest.raises(CancelledError):
            classifier.predict(long, cancel=after_two)
        assert after_two.asked == 3

    def test_one_line_for_people(self, classifier: Classifier, song: Path) -> None:
        prediction = classifier.predict(song)
        expected = (
            f"Prediction({str(song)!r}, genre={prediction.genre!r}, "
            f"confidence={prediction.confidence:.2f}, duration=12.0 s)"
        )
        assert repr(prediction) == str(prediction) == expected
        assert repr(classifier) == "Classifier('default', 10 genres)"
        assert re.fullmatch(r"Bundle\('default', 10 genres, \d+\.\d MB\)", repr(classifier.bundle))
        assert repr(Waveform(np.zeros(11025, np.float32), 22050)) == "Waveform(0.50 s, 22050 Hz)"

    def test_predictions_compare(self, classifier: Classifier, song: Path) -> None:
        one, other = classifier.predict(song), classifier.predict(song)
        assert one == other
        assert one != replace(other, path="another.wav")
        assert one != replace(other, embedding=other.embedding + 1)
        assert one != replace(other, genre=None)
        assert one != "prediction"

    def test_html_is_escaped(self, classifier: Classifier, song: Path) -> None:
        prediction = classifier.predict(song)
        odd = replace(prediction, path="<b>.mp3", warnings=["a & b"])
        html = odd._repr_html_()
        assert "&lt;b&gt;.mp3" in html
        assert "a &amp; b" in html
        assert f"<td>{prediction.genre}</td>" in html

    def test_a_classifier_is_pickled_with_its_bundle(
        self, classifier: Classifier, song: Path
    ) -> None:
        again = pickle.loads(pickle.dumps(classifier))
        assert again.predict(song) == classifier.predict(song)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(classifier.predict, [song]) == classifier.predict(song)

    @pytest.mark.needs("notebook")
    def test_a_frame_has_a_row_for_each(self, classifier: Classifier, song: Path) -> None:
        results = list(classifier.predict_many([song, "absent.mp3"]))
        frame = genrescope.to_frame(results)
        assert frame["path"].tolist() == [str(song), "absent.mp3"]
        assert frame["genre"].tolist() == [results[0].genre, None]
        assert frame["error"].tolist() == [None, "no such file"]
        assert frame.loc[0, classifier.genres].sum() == pytest.approx(1)
        assert genrescope.to_frame([]).empty

    @pytest.mark.needs("notebook")
    def test_a_plot_shows_every_moment(self, classifier: Classifier, song: Path) -> None:
        import matplotlib

        matplotlib.use("agg")
        prediction = classifier.predict(song)
        axes = prediction.plot()
        assert axes.get_xlim() == (0, 12)
        assert len(axes.collections) == 6
        classifier.predict(Waveform(music(2), RATE)).plot()
        classifier.predict(Waveform(np.zeros(RATE * 2, np.float32), RATE)).plot()

    @pytest.mark.parametrize("name", ["pandas", "matplotlib"])
    def test_what_is_not_installed_is_named(
        self, classifier: Classifier, song: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, name, None)
        prediction = classifier.predict(song)
        act = prediction.plot if name == "matplotlib" else lambda: genrescope.to_frame([])
        with pytest.raises(GenrescopeError, match=r"pip install 'genrescope\[notebook\]'"):
            act()

    def test_names_for_tab_completion(self) -> None:
        assert set(genrescope.__all__) <= set(dir(genrescope))
        for name in genrescope.__all__:
            assert getattr(genrescope, name) is not None
        with pytest.raises(AttributeError, match="no attribute 'guess'"):
            _ = genrescope.guess


def timeline_of(*rows: tuple[float, float, str, float]) -> list[SegmentPrediction]:
    """Segments of three genres: start, end, the genre, and its probability."""
    return [
        SegmentPrediction(a, b, {g: p if g == genre else (1 - p) / 2 for g in ("x", "y", "z")})
        for a, b, genre, p in rows
    ]


class TestSections:
    """Segments are joined to sections that do not overlap."""

    def test_a_single_stray_segment_makes_no_section(self) -> None:
        rows = [(1.5 * i, 1.5 * i + 3, "y" if i == 10 else "x", 0.9) for i in range(20)]
        (section,) = find_sections(timeline_of(*rows))
        assert (section.genre, section.start, section.end) == ("x", 0, 31.5)
        assert section.probability == pytest.approx((19 * 0.9 + 0.05) / 20)

    def test_genres_that_change_are_separate(self) -> None:
        genres = "x" * 40 + "y" * 40 + "x" * 40
        rows = [(1.5 * i, 1.5 * i + 3, genre, 0.8) for i, genre in enumerate(genres)]
        sections = find_sections(timeline_of(*rows))
        assert [s.genre for s in sections] == ["x", "y", "x"]
        assert [s.start for s in sections[1:]] == [s.end for s in sections[:-1]]
        assert sections[1].start == pytest.approx(60.75)
        assert shares_of(sections) == pytest.approx({"x": 0.666, "y": 0.333}, abs=0.01)

    def test_a_segment_counts_by_the_time_that_it_adds(self) -> None:
        found = []
        for step in (1.5, 2.7, 3.0):
            starts = np.arange(0, 90, step)
            genres = ["y" if 30 <= start < 54 else "x" for start in starts]
            rows = [(a, a + 3, g, 0.8) for a, g in zip(starts.tolist(), genres, strict=True)]
            found.append([s.genre for s in find_sections(timeline_of(*rows))])
        assert found == [["x", "y", "x"]] * 3
        stray = timeline_of(
            *((3.0 * i, 3.0 * i + 3, "y" if i == 9 else "x", 1.0) for i in range(10))
        )
        assert len(find_sections(stray)) == 1, "one segment must not decide alone"

    @pytest.mark.parametrize(("seconds", "count"), [(5, 1), (9, 3)])
    def test_so_does_a_segment_that_is_certain(self, seconds: float, count: int) -> None:
        for step in (1.5, 2.7, 3.0):
            starts = np.arange(0, 90, step).tolist()
            genres = ["y" if 30 <= start < 30 + seconds else "x" for start in starts]
            rows = [(a, a + 3, g, 0.999) for a, g in zip(starts, genres, strict=True)]
            assert len(find_sections(timeline_of(*rows))) == count, step

    def test_silence_separates_sections(self) -> None:
        sections = find_sections(timeline_of((0, 3, "x", 0.9), (9, 12, "x", 0.9)))
        assert [(s.start, s.end) for s in sections] == [(0, 3), (9, 12)]
        assert find_sections([]) == []
        assert shares_of([]) == {}

    def test_an_hour_has_sections_by_the_dozen_not_by_the_thousand(self) -> None:
        random = np.random.default_rng(0)
        mixed = []
        for i in range(2400):
            genre = "xyz"[i // 200 % 3] if random.random() < 0.6 else random.choice(list("xyz"))
            mixed.append((1.5 * i, 1.5 * i + 3, genre, 0.7))
        sections = find_sections(timeline_of(*mixed))
        assert 12 <= len(sections) <= 40
        assert sections[0].start == 0
        assert sections[-1].end == 1.5 * 2399 + 3

    def test_json_has_them(self, classifier: Classifier) -> None:
        fields = classifier.predict(Waveform(music(20), RATE)).to_dict()
        assert fields["schema_version"] == 1
        assert fields["sections"][0]["start"] == 0
        assert sum(fields["shares"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
@pytest.mark.shared
def test_audio_and_stored_spectrograms_give_the_same_genres(
    classifier: Classifier, shared: Path
) -> None:
    audio = sorted((shared / "data/gtzan-audio").glob("*/*.flac"))
    images = [shared / "data/gtzan-spectrograms" / p.parent.name / f"{p.stem}.png" for p in audio]
    assert len(audio) == 51
    differences = []
    for decoded, stored in zip(
        classifier.predict_many(audio), classifier.predict_many(images), strict=True
    ):
        assert decoded.genre == stored.genre
        differences += [abs(decoded.probabilities[g] - p) for g, p in stored.probabilities.items()]
    assert np.mean(differences) <= 0.005


@pytest.mark.slow
@pytest.mark.shared
def test_without_treble_most_genres_stay_and_others_are_uncertain(
    classifier: Classifier, shared: Path
) -> None:
    """As a telephone or an old recording has it: nothing above 4 kHz."""
    full = [
        load(path, sample_rate=RATE)
        for path in sorted((shared / "data/gtzan-audio").glob("*/*.flac"))
    ]
    narrow = [Waveform(soxr.resample(sound.samples, RATE, 8000), 8000) for sound in full]
    pairs = list(zip(classifier.predict_many(full), classifier.predict_many(narrow), strict=True))
    other = [dull for clear, dull in pairs if dull.genre != clear.genre]
    assert len(other) <= len(pairs) / 4
    assert all(dull.confidence < 0.9 for dull in other)


@pytest.mark.slow
@pytest.mark.shared
def test_real_mp3s(classifier: Classifier, shared: Path) -> None:
    files = sorted((shared / "data/emotify-audio").glob("*/*.mp3"))
    results = list(classifier.predict_many(files))
    assert len(results) == 40
    assert all(isinstance(result, Prediction) for result in results)
    # The detector of what is no music errs on a few.
    assert sum(result.genre is None for result in results) <= 3
    classical = [r.genre for r in results if Path(r.path).parent.name == "classical"]
    assert classical.count("classical") >= 5
