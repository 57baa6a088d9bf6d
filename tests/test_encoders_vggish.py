"""VGGish: its front end against the reference, its architecture against what is published."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from checkpoints import write_tensorflow_1
from clips import music, write_wav
from genrescope.audio import Waveform, load
from genrescope.encoders import Embedding, layer, make_encoder
from genrescope.encoders.layer import embedding_key
from genrescope.encoders.tensorflow_checkpoint import read_slices
from genrescope.encoders.weights import WeightsError
from genrescope.errors import AudioError, RecipeError
from genrescope.features import Frontend, SegmentSettings, make_feature

torch = pytest.importorskip("torch")
from genrescope.encoders import vggish  # noqa: E402 - torch first
from genrescope.encoders._vggish import Quantised, VGGish  # noqa: E402
from genrescope.encoders.vggish import Encoder, from_tensorflow  # noqa: E402

FEATURE = make_feature({"kind": "vggish_mel"})


def sound(seconds: float, seed: int = 0) -> Waveform:
    return Waveform(music(seconds, seed=seed, rate=16000), 16000)


@pytest.fixture(scope="module")
def network() -> VGGish:
    return Encoder(weights_seed=0).network()


@pytest.fixture(scope="module")
def sessions() -> dict:
    """Graphs of it, filled as they are needed."""
    return {}


@pytest.fixture
def encoder(
    network: VGGish, sessions: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Encoder:
    """A fresh encoder with a cache of its own; network and graphs are built only once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = Encoder(weights_seed=0, device="cpu")
    made._network, made.sessions = network, sessions
    return made


class TestFrontEnd:
    @pytest.mark.shared
    @pytest.mark.parametrize("name", ["sine1k", "chirp", "noise_rs0", "testwav"])
    def test_equal_to_googles(self, shared: Path, name: str) -> None:
        with np.load(shared / "reference" / "vggish_logmel_reference.npz") as reference:
            wanted = reference[f"{name}_examples"]
            waves = {key: reference[key] for key in reference.files if key.endswith("_wave")}
        if name == "testwav":
            waveform = load(shared / "reference" / "vggish_test.wav", sample_rate=16000)
        else:
            waveform = Waveform(waves[f"{name}_wave"], 16000)
        segments, starts, _, padded = Encoder(weights_seed=0).segments(waveform)
        assert segments.shape == (len(wanted), 64, 96)
        assert np.abs(segments.transpose(0, 2, 1) - wanted).max() < 1e-4
        assert not padded
        assert starts == pytest.approx(np.arange(len(wanted)) * 0.96)

    def test_a_whole_number_of_frames_without_padding(self) -> None:
        for samples, frames in [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16000, 98)]:
            assert FEATURE(Waveform(np.ones(samples, np.float32), 16000)).shape == (64, frames)

    def test_silence_is_the_logarithm_of_the_offset(self) -> None:
        values, silent = FEATURE.compute(Waveform(np.zeros(16000, np.float32), 16000))
        assert values == pytest.approx(np.log(0.01))
        assert silent.all()

    def test_windows_of_a_stream_are_the_same_frames(self, tmp_path: Path) -> None:
        frontend = Frontend(
            feature={"kind": "vggish_mel"},
            scale="none",
            segments=SegmentSettings(seconds=0.96, overlap=0),
        )
        assert frontend.shape == (64, 96)
        waveform = sound(70)
        windows = np.concatenate([w.values for w in frontend.windows(waveform)], axis=1)
        assert np.abs(windows - FEATURE(waveform)).max() < 1e-5

    def test_it_has_no_other_settings(self) -> None:
        for name, value in [("hop_length", 80), ("n_mels", 96), ("fmin", 0.0)]:
            with pytest.raises(RecipeError, match="vggish_mel"):
                make_feature({"kind": "vggish_mel", name: value})


class TestArchitecture:
    def test_as_many_parameters_as_published(self, network: VGGish) -> None:
        assert sum(p.numel() for p in network.parameters()) == 72_141_184 == vggish.PARAMETERS

    def test_layers_by_the_ports_names_and_shapes(self, network: VGGish) -> None:
        shapes = {name: list(values.shape) for name, values in network.state_dict().items()}
        channels = [(0, 1, 64), (3, 64, 128), (6, 128, 256)]
        channels += [(8, 256, 256), (11, 256, 512), (13, 512, 512)]
        wanted = {f"features.{n}.weight": [out, into, 3, 3] for n, into, out in channels}
        wanted |= {f"features.{n}.bias": [out] for n, _, out in channels}
        for n, into, out in [(0, 12288, 4096), (2, 4096, 4096), (4, 4096, 128)]:
            wanted |= {f"embeddings.{n}.weight": [out, into], f"embeddings.{n}.bias": [out]}
        wanted |= {"pproc.pca_eigen_vectors": [128, 128], "pproc.pca_means": [128, 1]}
        assert shapes == wanted

    def test_forward_gives_every_layer(self, network: VGGish) -> None:
        with torch.inference_mode():
            found = network(torch.randn(3, 64, 96))
        assert {name: values.shape[1] for name, values in found.items()} == Encoder.layers
        assert all(len(values) == 3 and (values >= 0).all() for values in found.values())
        assert set(found["pca"].flatten().tolist()) <= set(range(256))

    def test_maps_are_flattened_as_tensorflow_does(self, network: VGGish) -> None:
        segments = torch.randn(2, 64, 96)
        with torch.inference_mode():
            maps = network.features(segments.transpose(1, 2)[:, None])
            conv = network(segments)["conv"]
        assert maps.shape == (2, 512, 6, 4)  # channels, time, bands
        time, band, channel = 4, 2, 100
        place = (time * 4 + band) * 512 + channel
        assert conv[:, place] == pytest.approx(maps[:, channel, time, band], abs=1e-6)

    def test_quantising(self) -> None:
        layer = Quantised()
        layer.pca_means[:] = 1
        layer.pca_eigen_vectors[:] = torch.eye(128).flip(0)
        embeddings = torch.zeros(1, 128)
        embeddings[0, :4] = torch.tensor([-9.0, 1.0, 2.0, 9.0])
        # 255 / 4 levels to a unit, 0 at -2; the matrix turns the order round.
        assert layer(embeddings)[0, -4:].tolist() == [255, 191, 128, 0]
        assert layer(embeddings)[0, 0] == 64

    def test_a_fine_tuning_step_makes_the_loss_smaller(self, network: VGGish) -> None:
        from copy import deepcopy

        torch.manual_seed(0)
        tuned = deepcopy(network).train()
        head = torch.nn.Linear(128, 2)
        segments, labels = torch.randn(2, 64, 96), torch.tensor([0, 1])
        optimizer = torch.optim.SGD([*tuned.parameters(), *head.parameters()], lr=0.1)
        losses = []
        for _ in range(3):
            optimizer.zero_grad(set_to_none=True)
            loss = torch.nn.functional.cross_entropy(head(tuned(segments)["fc3"]), labels)
            loss.backward()
            assert all(p.grad is not None for p in tuned.parameters())
            optimizer.step()
            losses.append(loss.item())
        assert losses[2] < losses[0]
        before, after = network.features[0].weight, tuned.features[0].weight
        assert not torch.equal(before, after)


class TestEmbedding:
    def test_seconds_of_a_long_clip(self, encoder: Encoder) -> None:
        found = encoder.embed(sound(5))
        assert found.values.shape == (5, 128)
        assert found.values.dtype == np.float32
        assert found.starts == pytest.approx([0, 0.96, 1.92, 2.88, 3.84])
        assert found.ends == pytest.approx([0.96, 1.92, 2.88, 3.84, 4.8])
        assert not found.padded

    @pytest.mark.parametrize("seconds", [0.01, 0.5, 0.97])
    def test_a_short_clip_is_filled_up_and_marked(self, encoder: Encoder, seconds: float) -> None:
        short = sound(seconds)
        found = encoder.embed(short)
        assert found.values.shape == (1, 128)
        assert found.padded
        assert (found.starts, found.ends) == (0, pytest.approx(min(0.96, short.duration)))
        filled = np.pad(short.samples, (0, 16000 - len(short.samples)))
        assert np.allclose(found.values, encoder.embed(Waveform(filled, 16000)).values, atol=1e-6)

    def test_just_long_enough_is_not_filled_up(self, encoder: Encoder) -> None:
        samples = sound(1).samples
        assert not encoder.embed(Waveform(samples[:15600], 16000)).padded
        assert encoder.embed(Waveform(samples[:15599], 16000)).padded

    def test_any_rate_is_resampled(self, encoder: Encoder) -> None:
        other = encoder.embed(Waveform(music(2, rate=44100), 44100)).values
        assert np.allclose(other, encoder.embed(sound(2)).values, atol=2e-3)

    def test_batches_make_no_difference(self, encoder: Encoder) -> None:
        sounds = [sound(seconds, seed) for seed, seconds in enumerate([2, 0.3, 4, 1])]
        alone = [encoder.embed(one) for one in sounds]
        for batch_size in (1, 3, 32):
            together = list(encoder.embed_many(sounds, batch_size=batch_size))
            for one, other in zip(alone, together, strict=True):
                assert isinstance(other, Embedding)
                assert np.allclose(one.values, other.values, atol=1e-5)
                assert one.starts.tolist() == other.starts.tolist()
                assert one.padded == other.padded
        assert np.abs(alone[0].values - alone[3].values[:1]).max() > 1e-4  # and it is no constant

    def test_layers(self, encoder: Encoder) -> None:
        for name, size in Encoder.layers.items():
            assert encoder.embed(sound(1), layer=name).values.shape == (1, size)
        with pytest.raises(
            RecipeError, match=r"no layer 'fc9' .did you mean .*; there are: conv, fc1"
        ):
            encoder.embed(sound(1), layer="fc9")

    def test_a_file_that_cannot_be_decoded_stops_nothing(
        self, encoder: Encoder, tmp_path: Path
    ) -> None:
        good = write_wav(tmp_path / "good.wav", 2)
        (tmp_path / "bad.wav").write_bytes(b"junk")
        sources = [tmp_path / "bad.wav", good, tmp_path / "none.wav", good]
        found = list(encoder.embed_many(sources))
        assert [type(item) for item in found] == [AudioError, Embedding, AudioError, Embedding]
        with pytest.raises(AudioError, match=r"none.wav: no such file"):
            encoder.embed(tmp_path / "none.wav")
        for samples in (np.zeros(0, np.float32), np.full(20000, np.nan, np.float32)):
            with pytest.raises(AudioError):
                encoder.embed(Waveform(samples, 16000))

    def test_bfloat16_is_near(self, encoder: Encoder, network: VGGish) -> None:
        lowered = Encoder(weights_seed=0, device="cpu", precision="bfloat16")
        lowered._network = network
        exact, near = encoder.embed(sound(2)).values, lowered.embed(sound(2)).values
        assert 0 < np.linalg.norm(exact - near) < 0.02 * np.linalg.norm(exact)
        assert network.features[0].weight.dtype == torch.float32


class TestCache:
    def test_a_second_time_nothing_is_computed(
        self, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = [write_wav(tmp_path / f"{n}.wav", seconds) for n, seconds in enumerate([3, 0.4])]
        first = list(encoder.embed_many(files))
        monkeypatch.setattr(layer, "_graph_run", None)  # would fail when called
        (tmp_path / "moved.wav").write_bytes(files[0].read_bytes())
        again = list(encoder.embed_many([files[0], files[1], tmp_path / "moved.wav"]))
        for one, other in zip([*first, first[0]], again, strict=True):
            assert np.array_equal(one.values, other.values)
            assert np.array_equal(one.starts, other.starts)
            assert np.array_equal(one.ends, other.ends)
            assert one.padded == other.padded
        assert [one.padded for one in first] == [False, True]

    def test_an_interrupted_run_continues(
        self, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = [write_wav(tmp_path / f"{n}.wav", 1, seed=n) for n in range(4)]
        started = encoder.embed_many(files, batch_size=1)
        next(started), next(started)
        started.close()
        computed: list[int] = []
        run = layer._graph_run(encoder, "fc3")

        def counting(segments: np.ndarray) -> np.ndarray:
            computed.append(len(segments))
            return run(segments)

        monkeypatch.setattr(layer, "_graph_run", lambda *_: counting)
        assert len(list(encoder.embed_many(files))) == 4
        assert sum(computed) == 2

    def test_other_settings_and_weights_are_not_mixed_up(
        self, encoder: Encoder, network: VGGish, tmp_path: Path
    ) -> None:
        file = write_wav(tmp_path / "a.wav", 2)
        encoder.embed(file)
        assert encoder.embed(file, layer="conv").values.shape == (2, 12288)
        other = Encoder(weights_seed=1)
        assert embedding_key(other, "fc3") != embedding_key(encoder, "fc3")
        denser = Encoder(weights_seed=0)
        denser._network = network
        denser.step = 0.48
        found = denser.embed(file)
        assert found.starts == pytest.approx([0, 0.48, 0.96])
        assert found.ends == pytest.approx([0.96, 1.44, 1.92])


def state_of(network: VGGish, *, pca: bool = False) -> dict[str, torch.Tensor]:
    state = network.state_dict()
    return {name: values for name, values in state.items() if pca or "pproc" not in name}


def as_variables(network: VGGish) -> dict[str, np.ndarray]:
    """The network's weights by TensorFlow's names, in its order of axes."""
    state, variables = state_of(network), {}
    for ours, theirs in vggish.TENSORFLOW.items():
        weight = state[f"{ours}.weight"].numpy()
        order = (2, 3, 1, 0) if weight.ndim == 4 else (1, 0)
        variables[f"vggish/{theirs}/weights"] = weight.transpose(order)
        variables[f"vggish/{theirs}/biases"] = state[f"{ours}.bias"].numpy()
    return variables


def flat_state() -> dict[str, torch.Tensor]:
    """Weights that give the figures of the smoke test whatever the audio, in a small file."""
    with torch.device("meta"):
        shapes = {name: v.shape for name, v in VGGish().state_dict().items() if "pproc" not in name}
    state = {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}
    # Of 128 numbers a fifth is 0.6 and the others about 0: mean 0.131, deviation 0.238.
    bias = torch.full((128,), 0.0145)
    bias[:25] = 0.612
    return {**state, "embeddings.4.bias": bias}


def flat_pca(dtype: type = np.float64) -> dict[str, np.ndarray]:
    """Components that do not depend on the embedding: the means alone matter."""
    wanted = 123 + 75 * np.where(np.arange(128) < 64, -1.0, 1.0)
    mixed = np.zeros((128, 128))
    mixed[:, 0] = wanted * 4 / 255 - 2
    means = np.zeros(128)
    means[0] = 0.612 - 1  # what comes in less this is 1 in the first place
    return {"pca_eigen_vectors": mixed.astype(dtype), "pca_means": means.astype(dtype)}


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch, network: object, pca: object) -> Path:
    """Save files as the port's author did, and take their hashes for the published ones."""
    folder.mkdir()
    known = []
    for weights, content in zip(Encoder.weights, (network, pca), strict=True):
        path = folder / weights.file
        torch.save(content, path, _use_new_zipfile_serialization=False)
        hashed = hashlib.sha256(path.read_bytes()).hexdigest()
        known.append(replace(weights, sha256=hashed[:8]))
    monkeypatch.setattr(Encoder, "weights", tuple(known))
    return folder


class TestWeights:
    def test_hash_digits_are_those_in_the_files_names(self) -> None:
        for weights in Encoder.weights:
            assert weights.file.removesuffix(".pth").endswith(f"-{weights.sha256}")
            assert weights.url.endswith(f"/{weights.file}")

    def test_a_published_checkpoint_loads_as_it_is(
        self, network: VGGish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = publish(tmp_path / "w", monkeypatch, state_of(network), flat_pca())
        for given in (folder, folder / Encoder.weights[0].file):
            loaded = make_encoder("vggish", given)
            loaded.cache = None
            for name, values in state_of(loaded.network()).items():
                assert torch.equal(values, network.state_dict()[name])
            assert "pca" not in loaded.network()(torch.zeros(1, 64, 96))
            raw, found = (loaded.embed(sound(1), layer=layer).values for layer in ("fc3", "pca"))
            vectors, means = flat_pca().values()
            whitened = np.clip(vectors @ (raw[0] - means), -2, 2)
            assert np.abs(found[0] - (whitened + 2) * 255 / 4).max() <= 0.501
            assert found.std() > 10
        (folder / Encoder.weights[1].file).unlink()
        monkeypatch.setenv("GENRESCOPE_OFFLINE", "1")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
        alone = Encoder(folder)
        assert alone.embed(sound(1)).values.shape == (1, 128)
        with pytest.raises(WeightsError, match=r"vggish_pca_params-970ea276.pth: not here"):
            alone.embed(sound(1), layer="pca")

    def test_a_checkpoint_with_its_pca_inside(
        self, network: VGGish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        state = {name: v[:1, :1].expand(v.shape) if v.ndim == 2 and len(v) > 128 else v
                 for name, v in state_of(network, pca=True).items()}  # fmt: skip
        folder = publish(tmp_path / "w", monkeypatch, state, {})
        assert "pca" in Encoder(folder).network()(torch.zeros(1, 64, 96))

    def test_what_does_not_fit_is_said_in_one_line(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = publish(tmp_path / "w", monkeypatch, {"features.0.weight": torch.ones(2)}, {})
        with pytest.raises(WeightsError, match=r"vggish-10086976.pth: does not fit: ") as error:
            Encoder(folder).network()
        assert "\n" not in str(error.value)

    def test_tensorflows_values(self, network: VGGish, tmp_path: Path) -> None:
        state = state_of(network)
        variables = {
            name + ":0" * ("biases" in name): values
            for name, values in as_variables(network).items()
        }
        variables["global_step"] = np.int64(7)
        assert variables["vggish/conv2/weights"].shape == (3, 3, 64, 128)
        assert variables["vggish/fc1/fc1_1/weights"].shape == (12288, 4096)
        np.savez(tmp_path / "tf.npz", **variables)
        loaded = state_of(Encoder(tmp_path / "tf.npz").network())
        assert all(torch.equal(values, loaded[name]) for name, values in state.items())
        kernel = variables.pop("vggish/conv2/weights")
        with pytest.raises(WeightsError, match="holds no vggish/conv2/weights"):
            from_tensorflow(variables)
        with pytest.raises(WeightsError, match="conv2/weights has the shape"):
            from_tensorflow({**variables, "vggish/conv2/weights": kernel[:2]})


class TestWithoutTorch:
    """The graph that comes with the package, filled with the arrays of a checkpoint."""

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["port", "TensorFlow"])
    def test_it_gives_what_torch_gives(
        self, network: VGGish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        vectors, means = (torch.from_numpy(each) for each in flat_pca(np.float32).values())
        vectors[:, 1:] = torch.eye(128)[:, 1:]
        folder = publish(
            tmp_path / "w",
            monkeypatch,
            state_of(network),
            flat_pca() | {"pca_eigen_vectors": vectors},
        )
        given = folder
        if kind == "TensorFlow":
            given = tmp_path / "w" / "vggish_model.ckpt"
            variables = {
                name: np.ascontiguousarray(values) for name, values in as_variables(network).items()
            }
            write_tensorflow_1(given, variables)
            (folder / Encoder.weights[0].file).unlink()
        bare = Encoder(given)
        monkeypatch.setattr(layer, "find_spec", lambda name: None)
        segments, *_ = bare.segments(sound(3))
        with torch.inference_mode():
            expected = network(torch.from_numpy(segments))
            whitened = torch.clamp((expected["fc3"] - means) @ vectors.T, -2, 2)
        for name in Encoder.layers:
            found = layer._graph_run(bare, name)(segments)
            wanted = expected[name].numpy()
            if name == "pca":
                assert np.abs(found - (whitened.numpy() + 2) * 255 / 4).max() <= 0.501
                continue
            assert np.abs(found - wanted).max() <= 1e-5 * max(1.0, np.abs(wanted).max())
            bare.sessions.clear()  # each holds a copy of the weights

    def test_it_is_imported_without_torch(self) -> None:
        code = (
            "import sys; from genrescope.encoders import make_encoder; make_encoder('vggish'); "
            "sys.exit('torch' in sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_a_checkpoint_of_tensorflow_1(self, tmp_path: Path) -> None:
        variables = {
            "a/weights": np.arange(6, dtype=np.float32).reshape(2, 3),
            "b": np.float32([1.5]),
            "global_step": np.int64([7]),
        }
        path = write_tensorflow_1(tmp_path / "x.ckpt", variables)
        found = read_slices(path.read_bytes(), path)
        assert sorted(found) == ["a/weights", "b"]
        for name, values in found.items():
            np.testing.assert_array_equal(values, variables[name])
        for content in (path.read_bytes()[:-60], path.read_bytes()[30:], b"", b"junk" * 20):
            with pytest.raises(WeightsError, match="not a TensorFlow checkpoint"):
                read_slices(content, path)


class TestCommand:
    @pytest.fixture
    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
        from typer.testing import CliRunner

        from genrescope.cli.encoders import app

        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("GENRESCOPE_OFFLINE", "1")
        return lambda *words: CliRunner().invoke(app, [str(word) for word in words])

    def test_list(self, run, tmp_path: Path) -> None:
        rows = {row["name"]: row for row in json.loads(run("list", "--format", "json").stdout)}
        file, _ = rows["vggish"]["weights"]
        assert file["file"] == "vggish-10086976.pth"
        assert file["licence"] == "Apache-2.0"
        assert file["here"] is False
        place = tmp_path / "cache" / "genrescope" / "weights" / "vggish-10086976.pth"
        assert file["path"] == str(place)
        assert rows["vggish"]["layers"]["fc3"] == 128
        table = run("list").stdout
        assert "not here  vggish-10086976.pth" in table
        place.parent.mkdir(parents=True)
        place.write_bytes(b"")
        assert "\n  here      vggish-10086976.pth" in run("list").stdout

    def test_without_weights_one_line_and_nothing_done(self, run, tmp_path: Path) -> None:
        for words in (["fetch", "vggish"], ["verify", "vggish"]):
            error = run(*words).exception
            assert isinstance(error, WeightsError)  # the command line's main makes it code 2
            assert str(error).endswith(f"{tmp_path}/cache/genrescope/weights/vggish-10086976.pth")

    def test_verify_passes_what_has_the_published_figures(
        self, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = publish(tmp_path / "w", monkeypatch, flat_state(), flat_pca())
        done = run("verify", "vggish", "--weights", folder)
        assert done.exit_code == 0, done.output
        assert done.stdout.count("as published") == 2
        assert len(re.findall(r" pass *\n", done.stdout)) == 5
        assert re.search(r"fc3, mean +0\.131 +0\.131\d* +10 % +pass", done.stdout)
        found = json.loads(run("verify", "vggish", "--weights", folder, "-f", "json").stdout)
        assert found["passed"]
        assert [check["published"] for check in found["checks"]] == [0.131, 0.238, 123, 75]

    def test_verify_fails_other_weights(
        self, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        state = flat_state()
        state["embeddings.4.bias"] = state["embeddings.4.bias"] * 1.2
        folder = publish(tmp_path / "w", monkeypatch, state, flat_pca())
        done = run("verify", "vggish", "--weights", folder)
        assert done.exit_code == 1
        assert re.search(r"fc3, mean +0\.131 +0\.157\d* +10 % +FAIL", done.stdout)
        monkeypatch.undo()
        refused = run("verify", "vggish", "--weights", folder).exception
        assert isinstance(refused, WeightsError)  # its hash is not the real one's


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    modules = "genrescope.encoders.weights, genrescope.cli.encoders"
    code = f"import sys, {modules}; sys.exit(not {{'torch', 'keras'}}.isdisjoint(sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_encoder_is_named_with_those_there_are() -> None:
    with pytest.raises(RecipeError, match=r"no encoder 'vgg' .*; there are: .*vggish"):
        make_encoder("vgg")
    with pytest.raises(ValueError, match="precision"):
        Encoder(precision="int8")


def test_a_song_from_its_file(encoder: Encoder, tmp_path: Path) -> None:
    stereo = np.stack([music(2, rate=44100), music(2, rate=44100, seed=1)], axis=1)
    soundfile.write(tmp_path / "s.flac", stereo, 44100)
    assert encoder.embed(tmp_path / "s.flac").values.shape == (2, 128)
