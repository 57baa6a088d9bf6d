"""MusiCNN: its front end against librosa, its network against the published taggrams."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from clips import music
from genrescope import audio
from genrescope.audio import Waveform
from genrescope.errors import RecipeError
from genrescope.features import make_feature

torch = pytest.importorskip("torch")

from genrescope.encoders import musicnn  # noqa: E402
from genrescope.encoders.weights import WeightsError  # noqa: E402


@pytest.fixture(scope="module")
def untrained() -> musicnn.Encoder:
    encoder = musicnn.Encoder(untrained=0)
    encoder.cache = None
    return encoder


def _segments(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 96, 187, generator=torch.Generator().manual_seed(seed)) * 4


def test_front_end_is_that_of_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    sound = music(3, rate=16000)
    mel = librosa.feature.melspectrogram(y=sound, sr=16000, n_fft=512, hop_length=256, n_mels=96)
    found = make_feature({"kind": "musicnn_mel"})(Waveform(sound, 16000))
    np.testing.assert_allclose(found, np.log10(1 + 10000 * mel), atol=1e-4)


def test_front_end_has_no_other_settings() -> None:
    for setting in ({"fmax": 7000.0}, {"n_mels": 64}, {"sample_rate": 22050}):
        with pytest.raises(RecipeError, match="musicnn_mel"):
            make_feature({"kind": "musicnn_mel", **setting})


def test_segments_are_those_of_the_published_taggrams(untrained: musicnn.Encoder) -> None:
    segments, starts, ends, padded = untrained.segments(Waveform(music(30, rate=16000), 16000))
    # Of GTZAN's half minutes there are 28 published segments each.
    assert segments.shape == (28, 96, 187)
    assert not padded
    np.testing.assert_allclose(np.diff(starts), 0.976)
    np.testing.assert_allclose(ends - starts, 2.992)


def test_layers_and_seed(untrained: musicnn.Encoder) -> None:
    segments = _segments(3)
    with torch.no_grad():
        found = untrained.network()(segments)
        again = musicnn.Encoder(untrained=0).network()(segments)
        other = musicnn.Encoder(untrained=1).network()(segments)
    assert {name: tuple(v.shape) for name, v in found.items()} == {
        name: (3, size) for name, size in untrained.layers.items()
    }
    for name in untrained.layers:
        assert torch.equal(found[name], again[name])
        assert not torch.allclose(found[name], other[name])
    assert ((found["taggram"] > 0) & (found["taggram"] < 1)).all()
    assert len(set(musicnn.TAGS)) == 50


def test_short_sound_is_padded(untrained: musicnn.Encoder) -> None:
    embedding = untrained.embed(Waveform(music(1.5, rate=16000), 16000))
    assert embedding.padded
    assert embedding.values.shape == (1, 200)
    assert embedding.ends[0] == 1.5


def test_export(untrained: musicnn.Encoder) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = untrained.network()
    file = io.BytesIO()
    torch.onnx.export(
        network,
        (_segments(1),),
        file,
        dynamo=False,
        opset_version=17,
        input_names=["segments"],
        output_names=list(untrained.layers),
        dynamic_axes={"segments": {0: "n"}},
    )
    segments = _segments(3, seed=1)
    session = onnxruntime.InferenceSession(file.getvalue())
    found = session.run(None, {"segments": segments.numpy()})
    with torch.no_grad():
        wanted = network(segments)
    for values, name in zip(found, untrained.layers, strict=True):
        assert wanted[name].abs().max() > 0.1
        np.testing.assert_allclose(values, wanted[name], atol=1e-4)


def test_training_reaches_every_weight() -> None:
    network = musicnn.Encoder(untrained=0).network().train()
    before = {name: values.clone() for name, values in network.state_dict().items()}
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    network(_segments(2))["taggram"].square().sum().backward()
    optimizer.step()
    for name, values in network.state_dict().items():
        assert not torch.equal(values, before[name]), name


def _write(folder: Path, *, tensors: list[dict[str, object]], content: bytes) -> tuple[Path, Path]:
    group = {"paths": ["group1-shard1of1.bin"], "weights": tensors}
    model, shard = folder / "model.json", folder / "group1-shard1of1.bin"
    model.write_text(json.dumps({"format": "graph-model", "weightsManifest": [group]}))
    shard.write_bytes(content)
    return model, shard


def test_tensors_of_tensorflow_js(tmp_path: Path) -> None:
    tensors: list[dict[str, object]] = [
        {"name": "a", "shape": [2, 3], "dtype": "float32"},
        {"name": "b", "shape": [], "dtype": "int32"},
    ]
    numbers = np.arange(6, dtype="<f4")
    content = numbers.tobytes() + np.array(7, "<i4").tobytes()
    found = musicnn.read_tensorflow_js(*_write(tmp_path, tensors=tensors, content=content))
    np.testing.assert_array_equal(found["a"], numbers.reshape(2, 3))
    assert found["b"] == 7
    for wrong, reason in ((content[:-1], "ends within the tensor b"), (content + b"-", "1 bytes")):
        with pytest.raises(WeightsError, match=reason):
            musicnn.read_tensorflow_js(*_write(tmp_path, tensors=tensors, content=wrong))
    for kind in ("string", "uint8"):
        wrong_kind: list[dict[str, object]] = [{"name": "a", "shape": [1], "dtype": kind}]
        with pytest.raises(WeightsError, match=r"not a model for TensorFlow\.js"):
            musicnn.read_tensorflow_js(*_write(tmp_path, tensors=wrong_kind, content=b"1234"))
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(WeightsError, match=r"not a model for TensorFlow\.js"):
        musicnn.read_tensorflow_js(tmp_path / "model.json", tmp_path / "group1-shard1of1.bin")


@pytest.mark.shared
def test_changed_weights_are_refused(shared: Path, tmp_path: Path) -> None:
    for file in (musicnn.MODEL, musicnn.SHARD):
        content = bytearray((shared / "weights/musicnn-msd" / file.file).read_bytes())
        content[1000] ^= file == musicnn.SHARD
        (tmp_path / file.file).write_bytes(content)
    with pytest.raises(WeightsError, match=r"not the published group1-shard1of1\.bin"):
        musicnn.Encoder(tmp_path / "model.json").network()


@pytest.mark.shared
def test_taggrams_are_the_published_ones(shared: Path) -> None:
    """The remaining difference is the resampling, which was another when they were published."""
    published = {}
    for part in ("training", "evaluation"):
        path = shared / f"data/gtzan-features/{part}_data_GTZAN_MSDmusicnn_taggram.npz"
        with np.load(path, allow_pickle=False) as stored:
            tags, ids = stored["X"], stored["IDS"]
        published |= {Path(track).stem: tags[ids == track] for track in np.unique(ids)}
    files = sorted(shared.glob("data/gtzan-audio/*/*.flac"))
    files = [file for file in files if file.stem in published]
    assert len(files) == 22
    encoder = musicnn.Encoder(shared / "weights/musicnn-msd/model.json")
    correlations = []
    for file in files:
        segments, *_ = encoder.segments(audio.load(file))
        wanted = published[file.stem]
        assert len(segments) == len(wanted)
        # Every fourth, for time. Of all it is 0.987 at least and 0.998 in the median.
        with torch.inference_mode():
            found = encoder.network()(torch.from_numpy(segments[::4]))["taggram"].numpy()
        correlations.append(np.corrcoef(found.ravel(), wanted[::4].ravel())[0, 1])
    assert min(correlations) >= 0.985
    assert np.median(correlations) >= 0.995
