"""MusiCNN: its front end against librosa, its network against the published taggrams."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from clips import music
from genrescope import audio
from genrescope.audio import Waveform
from genrescope.errors import RecipeError
from genrescope.features import make_feature

torch = pytest.importorskip("torch")

from genrescope.encoders import layer, musicnn  # noqa: E402
from genrescope.encoders.tensorflow_checkpoint import read_checkpoint  # noqa: E402
from genrescope.encoders.weights import WeightsError  # noqa: E402


@pytest.fixture(scope="module")
def untrained() -> musicnn.Encoder:
    encoder = musicnn.Encoder(weights_seed=0)
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
        again = musicnn.Encoder(weights_seed=0).network()(segments)
        other = musicnn.Encoder(weights_seed=1).network()(segments)
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
    network = musicnn.Encoder(weights_seed=0).network().train()
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


# The authors' own checkpoint


def _varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def _checkpoint(tensors: dict[str, np.ndarray]) -> tuple[bytes, bytes]:
    """The index and the data of a TensorFlow checkpoint."""
    data, entries = b"", [(b"", b"\x08\x01\x1a\x02\x08\x01")]
    for name, values in sorted(tensors.items()):
        dims = b"".join(
            b"\x12" + _varint(len(d)) + d for d in (b"\x08" + _varint(n) for n in values.shape)
        )
        entry = b"\x08\x01\x12" + _varint(len(dims)) + dims
        entry += b"\x20" + _varint(len(data)) + b"\x28" + _varint(values.nbytes) + b"\x35abcd"
        entries.append((name.encode(), entry))
        data += values.astype("<f4").tobytes()

    def block(pairs: list[tuple[bytes, bytes]]) -> bytes:
        content, before = b"", b""
        for key, value in pairs:
            same = [a == b for a, b in zip(key, before, strict=False)]
            shared = [*same, False].index(False)
            content += _varint(shared) + _varint(len(key) - shared) + _varint(len(value))
            content += key[shared:] + value
            before = key
        return content + struct.pack("<II", 0, 1)

    first = block(entries)
    handle = _varint(0) + _varint(len(first))
    second = block([(entries[-1][0], handle)])
    trailer = b"\0crc_"
    place = len(first) + len(trailer)
    footer = b"\0\0" + _varint(place) + _varint(len(second))
    footer = footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    return first + trailer + second + trailer + footer, data


def test_a_checkpoint_of_tensorflow_is_read_without_it() -> None:
    random = np.random.default_rng(0)
    tensors = {
        name: random.standard_normal(shape).astype(np.float32)
        for name, shape in (("a/kernel", (7, 38, 1, 3)), ("a/bias", (3,)), ("scalar", ()))
    }
    index, data = _checkpoint(tensors)
    found = read_checkpoint(index, data, Path("x"))
    assert set(found) == set(tensors)
    for name, values in tensors.items():
        np.testing.assert_array_equal(found[name], values)
    for length in range(0, len(index), 7):
        with pytest.raises(WeightsError, match="not a TensorFlow checkpoint"):
            read_checkpoint(index[:length], data, Path("x"))
    with pytest.raises(WeightsError, match="does not fit into its file"):
        read_checkpoint(index, data[:-1], Path("x"))


def test_any_byte_of_an_index_may_be_wrong() -> None:
    index, data = _checkpoint({"a/kernel": np.ones((2, 3), np.float32)})
    for place in range(len(index)):
        broken = index[:place] + bytes([index[place] ^ 255]) + index[place + 1 :]
        with suppress(WeightsError):
            read_checkpoint(broken, data, Path("x"))


def test_an_index_cannot_stand_for_more_than_it_holds() -> None:
    values = np.ones((2, 3), np.float32)
    index, data = _checkpoint({"a" * 5000: values})
    with pytest.raises(WeightsError, match="name in the index is too long"):
        read_checkpoint(index, data, Path("x"))
    # A block of blocks that names the same block again and again.
    index, data = _checkpoint({"a": values, "b" * 100: values})
    size = index.index(b"\0crc_")
    handle = b"\0" + _varint(size)
    entry = _varint(0) + _varint(1) + _varint(len(handle)) + b"b" + handle
    blocks = entry * 8 + struct.pack("<II", 0, 1)
    footer = b"\0\0" + _varint(size + 5) + _varint(len(blocks))
    footer = footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    again = index[: size + 5] + blocks + b"\0crc_" + footer
    with pytest.raises(WeightsError, match="blocks of the index overlap"):
        read_checkpoint(again, data, Path("x"))


@pytest.mark.parametrize("fields", [b"\x08\x01\x10\x05", b"\x08\x01\x22\x01a\x28\x04"])
def test_a_field_of_another_type_than_it_should_be(fields: bytes) -> None:
    _, data = _checkpoint({"a": np.ones(1, np.float32)})
    block = _varint(0) + _varint(1) + _varint(len(fields)) + b"a" + fields
    block += struct.pack("<II", 0, 1)
    handle = b"\0" + _varint(len(block))
    blocks = _varint(0) + _varint(1) + _varint(len(handle)) + b"a" + handle
    blocks += struct.pack("<II", 0, 1)
    footer = b"\0\0" + _varint(len(block) + 5) + _varint(len(blocks))
    footer = footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    with pytest.raises(WeightsError, match="not a TensorFlow checkpoint: damaged"):
        read_checkpoint(block + b"\0crc_" + blocks + b"\0crc_" + footer, data, Path("x"))


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package like the authors', with the weights of an untrained network."""
    network = musicnn.Encoder(weights_seed=3).network()
    state = {name: values.numpy() for name, values in network.state_dict().items()}
    tensors = {}
    layers = {"dense": "dense", "output": "dense_1"}
    layers |= {f"front.{n}.conv": f"conv2d_{n}" if n else "conv2d" for n in range(5)}
    layers |= {f"middle.{n}.conv": f"conv2d_{n + 5}" for n in range(3)}
    for ours, theirs in layers.items():
        kernel = state[f"{ours}.weight"]
        if ours.startswith("front"):
            kernel = kernel.transpose(2, 3, 1, 0)
        elif ours.startswith("middle"):
            kernel = kernel[..., None].transpose(2, 1, 3, 0)
        else:
            kernel = kernel.T
        tensors |= {f"{theirs}/kernel": kernel, f"{theirs}/bias": state[f"{ours}.bias"]}
    scaled = ["input", *[f"front.{n}.scaled" for n in range(5)]]
    scaled += [*[f"middle.{n}.scaled" for n in range(3)], "pooled", "scaled"]
    for number, ours in enumerate(scaled):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        ones = np.ones_like(state[f"{ours}.factor"])
        tensors |= {f"{name}/gamma": ones, f"{name}/beta": ones, f"{name}/moving_mean": 0 * ones}
        tensors[f"{name}/moving_variance"] = 4 * ones - 1e-3
    index, data = _checkpoint(tensors)
    path = tmp_path / musicnn.WHEEL.file
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("musicnn/MSD_musicnn/.index", index)
        wheel.writestr("musicnn/MSD_musicnn/.data-00000-of-00001", data)
    published = replace(musicnn.WHEEL, sha256=sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(musicnn, "WHEEL", published)
    monkeypatch.setattr(musicnn.Encoder, "weights", (published,))
    return path


def test_the_authors_package_gives_the_network_its_weights(wheel: Path) -> None:
    state = musicnn.Encoder(weights_seed=3).network().state_dict()
    for given in (wheel, wheel.parent):
        found = musicnn.Encoder(given).network().state_dict()
        for name, values in state.items():
            expected = {"factor": 0.5, "offset": 1.0}.get(name.rpartition(".")[2])
            if expected is not None:
                values = torch.full_like(values, expected)
            torch.testing.assert_close(found[name], values, rtol=1e-6, atol=0)
    wheel.write_bytes(b"no wheel")
    with pytest.raises(WeightsError, match="not the published"):
        musicnn.Encoder(wheel).network()


def test_it_is_computed_without_torch(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Waveform(music(5, rate=16000), 16000)
    found = {}
    for absent in (False, True):
        if absent:
            monkeypatch.setattr(layer, "find_spec", lambda name: None)
            monkeypatch.setattr(musicnn.Encoder, "network", None)  # nothing may ask for it
        for name in musicnn.Encoder.layers:
            encoder = musicnn.Encoder(wheel)
            encoder.cache = None
            found[name, absent] = encoder.embed(sound, layer=name).values
    for name in musicnn.Encoder.layers:
        expected = found[name, False]
        scale = float(np.abs(expected).max())
        np.testing.assert_allclose(found[name, True], expected, atol=2e-3 * scale)


def test_its_module_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None\n"
    code += "from genrescope.encoders import make_encoder; print(make_encoder('musicnn').seconds)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "2.992", done.stderr


@pytest.mark.shared
def test_the_conversion_is_still_read(shared: Path) -> None:
    folder = shared / "weights/musicnn-msd"
    assert musicnn.Encoder(folder).weights == (musicnn.MODEL, musicnn.SHARD)
    assert musicnn.Encoder(folder / "model.json").weights == (musicnn.MODEL, musicnn.SHARD)
    assert musicnn.Encoder().weights == (musicnn.WHEEL,)
