"""MERT: the published shape of its network, checkpoints of both namings, a recipe on top of it."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from clips import music, write_wav
from genrescope.audio import Waveform
from genrescope.datasets import scan
from genrescope.errors import RecipeError
from genrescope.features import Frontend, SegmentSettings, make_feature
from genrescope.inference import Classifier

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from genrescope.encoders import make_encoder, mert  # noqa: E402
from genrescope.encoders.graph import to_onnx  # noqa: E402
from genrescope.encoders.weights import WeightsError  # noqa: E402
from genrescope.training.recipe import load_recipe  # noqa: E402
from genrescope.training.run import execute  # noqa: E402

POSITIONS = "encoder.pos_conv_embed.conv"
SMALL = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same network, but so small that it runs in no time."""
    for name, value in SMALL.items():
        monkeypatch.setitem(mert.ARCHITECTURE, name, value)
    monkeypatch.setattr(mert.Encoder, "layers", {f"layer_{n}": 24 for n in range(3)})
    monkeypatch.setattr(mert.Encoder, "default_layer", "layer_2")


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint of any content, which no published hash can fit."""
    unknown = mert.Weights("mert-v1-95m.bin", mert.CHECKPOINT.url, "", 0, "none", "for tests")
    monkeypatch.setattr(mert, "CHECKPOINT", unknown)
    monkeypatch.setattr(mert.Encoder, "weights", (unknown,))


def _segments(count: int, frames: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, 320, frames, generator=random) * 0.1 + 0.01


def _published(network: torch.nn.Module, *, old: bool) -> dict[str, torch.Tensor]:
    """The tensors of a network as HuBERT's own training leaves them."""
    state = dict(network.hubert.state_dict())
    weight = state.pop(f"{POSITIONS}.weight")
    names = mert._NORMED[0 if old else 1]
    # Directions of any length give the same weights.
    lengths = weight.norm(dim=(0, 1), keepdim=True)
    state[f"{POSITIONS}.{names[0]}"], state[f"{POSITIONS}.{names[1]}"] = lengths, weight * 3
    state["masked_spec_embed"] = torch.ones(network.hubert.config.hidden_size)
    return state


def test_the_sound_itself_is_a_feature() -> None:
    sound = music(2.01, rate=24000)
    sound[24000:30000] = 0
    feature = make_feature({"kind": "waveform"})
    values, silent = feature.compute(Waveform(sound, 24000))
    assert values.shape == (320, 150)
    np.testing.assert_array_equal(values.T.ravel(), sound[: 320 * 150])
    assert set(np.flatnonzero(silent)) == set(range(75, 93))
    with pytest.raises(ValueError, match="audio at 16000 Hz, not at 24000 Hz"):
        feature(Waveform(sound, 16000))


def test_the_sound_is_cut_as_any_feature() -> None:
    frontend = Frontend(
        feature={"kind": "waveform"}, scale="none", segments=SegmentSettings(seconds=5, overlap=0)
    )
    sound = music(41, rate=24000)
    windows = list(frontend.windows(Waveform(sound, 24000)))
    segments = [segment for window in windows for segment in frontend.segments_of(window)]
    wanted = [0, 5, 10, 15, 20, 25, 30, 35, 36]
    assert [segment.start for segment in segments] == pytest.approx(wanted, abs=1 / 75)
    for segment in segments:
        first = round(segment.start * 24000)
        np.testing.assert_array_equal(segment.values.T.ravel(), sound[first : first + 120000])


def test_size_is_the_published_one() -> None:
    with torch.device("meta"):
        network = mert.Encoder(weights_seed=0).build()
    state = _published(network, old=True)
    assert sum(values.numel() for values in state.values()) == mert.PARAMETERS
    assert sum(weight.numel() for weight in network.parameters()) == mert.PARAMETERS - 768 - 128
    # Four bytes for each of them, and the names of 211 tensors.
    assert len(state) == 211
    assert 0 < mert.CHECKPOINT.size - 4 * mert.PARAMETERS < 100_000


def test_layers_of_the_whole_network() -> None:
    encoder = mert.Encoder(weights_seed=0, device="cpu")
    network, segments = encoder.network(), _segments(2, 38)
    with torch.inference_mode():
        found = network(segments)
        louder = network(segments * 7 + 0.5)
    assert {name: tuple(values.shape) for name, values in found.items()} == {
        name: (2, size) for name, size in encoder.layers.items()
    }
    assert list(found) == [f"layer_{number}" for number in range(13)]
    for name, values in found.items():
        torch.testing.assert_close(louder[name], values, atol=1e-3, rtol=1e-3)


def test_layers_are_what_hubert_computes(small: None) -> None:
    network = mert.Encoder(weights_seed=0, device="cpu").network()
    hubert, segments = network.hubert, _segments(2, 75)
    sound = segments.transpose(1, 2).reshape(2, -1)
    sound = (sound - sound.mean(1, keepdim=True)) / sound.std(1, keepdim=True, correction=0)
    with torch.inference_mode():
        state = hubert.feature_projection(hubert.feature_extractor(sound).transpose(1, 2))
        assert state.shape[1] == 74, "75 a second, the last one incomplete"
        state = hubert.encoder.layer_norm(state + hubert.encoder.pos_conv_embed(state))
        wanted = {"layer_0": state.mean(1)}
        for number, layer in enumerate(hubert.encoder.layers, 1):
            found = layer(state)
            state = found[0] if isinstance(found, tuple) else found
            wanted[f"layer_{number}"] = state.mean(1)
        found = network(segments)
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        torch.testing.assert_close(found[name], values, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["old", "new", "safetensors"])
def test_checkpoints_of_either_naming_fit(
    small: None, anywhere: None, tmp_path: Path, kind: str
) -> None:
    network = mert.Encoder(weights_seed=3, device="cpu").network()
    state, path = _published(network, old=kind != "new"), tmp_path / "mert-v1-95m.bin"
    if kind == "safetensors":
        path = tmp_path / "model.safetensors"
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save(state, path)
    loaded = mert.Encoder(path, device="cpu").network()
    segments = _segments(2, 75)
    with torch.inference_mode():
        wanted, found = network(segments), loaded(segments)
        other = mert.Encoder(weights_seed=4, device="cpu").network()(segments)
    for name, values in wanted.items():
        torch.testing.assert_close(found[name], values, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(other[name], values, atol=1e-2)


@pytest.mark.parametrize(
    ("without", "extra", "words"),
    [
        (f"{POSITIONS}.weight_g", None, f'Missing key.*"{POSITIONS}.weight"'),
        ("encoder.layers.1.final_layer_norm.bias", None, "Missing key.*1.final_layer_norm.bias"),
        (None, "encoder.layers.7.final_layer_norm.bias", "Unexpected key.*7.final_layer_norm"),
    ],
)
def test_checkpoints_of_other_networks_are_refused(
    small: None,
    anywhere: None,
    tmp_path: Path,
    without: str | None,
    extra: str | None,
    words: str,
) -> None:
    state = _published(mert.Encoder(weights_seed=0, device="cpu").network(), old=True)
    state.pop(without, None)
    if extra:
        state[extra] = torch.zeros(24)
    torch.save(state, tmp_path / "mert-v1-95m.bin")
    with pytest.raises(WeightsError, match=words) as caught:
        mert.Encoder(tmp_path, device="cpu").network()
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(small: None, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "mert-v1-95m.bin")
    with pytest.raises(WeightsError, match=r"not the published mert-v1-95m\.bin.*a2b8b747f72c06e0"):
        mert.Encoder(tmp_path, device="cpu").network()
    (tmp_path / "cut.safetensors").write_bytes(b"12345678{")
    for name in ("cut", "none"):
        with pytest.raises(WeightsError, match=f"{name}.safetensors: not readable") as caught:
            mert.Encoder(tmp_path / f"{name}.safetensors", device="cpu").network()
        assert "\n" not in str(caught.value)


def test_without_weights_a_line_says_what_goes_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENRESCOPE_OFFLINE", "1")
    with pytest.raises(WeightsError) as caught:
        mert.Encoder().file(mert.CHECKPOINT)
    line = str(caught.value)
    assert "\n" not in line
    assert f"download {mert.CHECKPOINT.url} and put it at " in line
    assert line.endswith("weights/mert-v1-95m.bin")


def test_without_transformers_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(RecipeError, match=r"pip install 'genrescope\[mert\]'"):
        make_encoder("mert", weights_seed=0).network()


def test_export(small: None) -> None:
    """`to_onnx` itself refuses a graph that differs from torch by more than 1e-4."""
    onnxruntime = pytest.importorskip("onnxruntime")
    network = mert.Encoder(weights_seed=0, device="cpu").network()

    class Every(torch.nn.Sequential):
        def forward(self, segments: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (*self[0](segments).values(),)

    names = (*mert.Encoder.layers,)
    session = onnxruntime.InferenceSession(to_onnx(Every(network), (320, 75), names))
    segments = _segments(5, 75, seed=2)
    with torch.inference_mode():
        wanted = network(segments)
    for name, values in zip(names, session.run(None, {"segments": segments.numpy()}), strict=True):
        assert wanted[name].abs().max() > 0.1
        np.testing.assert_allclose(values, wanted[name], atol=1e-4)


def test_training_reaches_every_weight(small: None) -> None:
    network = mert.Encoder(weights_seed=0, device="cpu").network().eval()
    before = {name: values.clone() for name, values in network.state_dict().items()}
    found = network(_segments(2, 75))
    # Sums of squares of a normed layer do not depend on it.
    (found["layer_2"] * torch.arange(24)).pow(3).sum().backward()
    for name, weight in network.named_parameters():
        if "k_proj.bias" not in name:  # which a softmax takes out again
            assert weight.grad is not None and weight.grad.abs().max() > 0, name
    assert before.keys() == network.state_dict().keys()


def test_a_recipe_with_a_head(small: None, tmp_path: Path) -> None:
    for genre, pitch in (("low", 110.0), ("high", 1500.0)):
        (tmp_path / "data" / genre).mkdir(parents=True)
        for number in range(5):
            path = tmp_path / "data" / genre / f"{genre}.{number}.wav"
            write_wav(path, 6.0, seed=number, pitch=pitch * (1 + 0.02 * number))
    changes = ["feature.weights_seed=0", "segments.seconds=5", "split.folds=2", "training.epochs=2"]
    recipe = load_recipe("encoder-heads/mert/dense", changes)
    execute(recipe, scan(tmp_path / "data"), tmp_path / "run")
    classifier = Classifier.load(tmp_path / "run")
    assert classifier.manifest.frontend.computed.kind == "waveform"
    rows = list(csv.DictReader((tmp_path / "run" / "predictions.csv").open()))
    assert len(rows) == 10
    path = tmp_path / "data" / "low" / "low.0.wav"
    encoder = make_encoder("mert", weights_seed=0)
    wanted = encoder.embed(path).values[0]
    assert encoder.embed(path).values.shape == (1, 24), "the rest of the 6 s is too short"
    found = classifier.embed(path, layer="immediate")
    assert found.shape == (24,)
    # The bundle's last segment ends with the track; the encoder's are whole ones from the front.
    assert np.corrcoef(found, wanted)[0, 1] > 0.9
