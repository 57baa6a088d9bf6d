"""EfficientAT: its front end against torch's STFT, its network against its known outputs."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clips import music
from genrescope import audio
from genrescope.audio import Waveform
from genrescope.errors import RecipeError
from genrescope.features import make_feature

torch = pytest.importorskip("torch")

from genrescope.encoders import efficientat, efficientat_mn10  # noqa: E402
from genrescope.encoders.weights import WeightsError  # noqa: E402


def _segments(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 128, 100, generator=torch.Generator().manual_seed(seed))


def _reference(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    emphasised = torch.from_numpy(sound[1:] - 0.97 * sound[:-1]).double()
    window = torch.hann_window(800, periodic=False, dtype=torch.float64)
    power = torch.stft(emphasised, 1024, 320, 800, window, return_complex=True).abs() ** 2
    mel = 1127 * np.log(1 + np.arange(513) * 31.25 / 700)
    step = 1127 * np.log(1 + 15000 / 700) / 129
    # Triangles one step to both sides of the multiples of the step.
    filters = np.maximum(0, 1 - np.abs(mel / step - np.arange(1, 129)[:, None]))
    return np.asarray((np.log(filters @ power.numpy() + 1e-5) + 4.5) / 5)


def test_front_end_is_as_published() -> None:
    feature = make_feature({"kind": "efficientat_mel"})
    sound = music(3, rate=32000)
    found = feature(Waveform(sound, 32000))
    assert found.shape == (128, 300)
    np.testing.assert_allclose(found, _reference(sound), atol=1e-4)


@pytest.mark.parametrize("samples", [1, 2, 3, 500])
def test_front_end_takes_short_sounds(samples: int) -> None:
    found = make_feature({"kind": "efficientat_mel"})(Waveform(music(1)[:samples], 32000))
    assert found.shape == (128, 0 if samples == 1 else 1 + (samples - 1) // 320)
    assert np.isfinite(found).all()


def test_front_end_has_no_other_settings() -> None:
    for setting in ({"fmax": 16000.0}, {"n_mels": 64}, {"sample_rate": 22050}):
        with pytest.raises(RecipeError, match="efficientat_mel"):
            make_feature({"kind": "efficientat_mel", **setting})


@pytest.mark.parametrize("kind", [efficientat, efficientat_mn10])
def test_layers_and_seed(kind: object) -> None:
    encoder = kind.Encoder(weights_seed=0)  # type: ignore[attr-defined]
    with torch.no_grad():
        found = encoder.network()(_segments(2))
        again = type(encoder)(weights_seed=0).network()(_segments(2))
        other = type(encoder)(weights_seed=1).network()(_segments(2))
    assert {name: tuple(v.shape) for name, v in found.items()} == {
        name: (2, size) for name, size in encoder.layers.items()
    }
    for name in encoder.layers:
        assert torch.equal(found[name], again[name])
        assert not torch.allclose(found[name], other[name])


def test_mn10_has_the_published_size() -> None:
    with torch.device("meta"):
        state = efficientat.EfficientAT(1.0).state_dict()
    assert len(state) == 312
    assert sum(values.numel() for values in state.values()) == 4_901_277


def test_short_sound_is_padded() -> None:
    encoder = efficientat.Encoder(weights_seed=0)
    embedding = encoder.embed(Waveform(music(2), 22050))
    assert embedding.padded
    assert embedding.values.shape == (1, 384)
    assert embedding.ends[0] == 2.0


def test_export() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    network = efficientat.Encoder(weights_seed=0).network()
    file = io.BytesIO()
    torch.onnx.export(
        network,
        (_segments(1),),
        file,
        dynamo=False,
        opset_version=17,
        input_names=["segments"],
        output_names=["embedding", "logits"],
        dynamic_axes={"segments": {0: "n"}},
    )
    session = onnxruntime.InferenceSession(file.getvalue())
    segments = _segments(3, seed=1)
    found = session.run(None, {"segments": segments.numpy()})
    with torch.no_grad():
        wanted = network(segments)
    for values, name in zip(found, ("embedding", "logits"), strict=True):
        assert wanted[name].abs().max() > 0.01
        np.testing.assert_allclose(values, wanted[name], atol=1e-4, rtol=1e-3)


def test_training_reaches_every_weight() -> None:
    network = efficientat.Encoder(weights_seed=0).network().train()
    before = {name: values.clone() for name, values in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), 1.0)
    network(_segments(4))["logits"].square().sum().backward()
    optimizer.step()
    same = [
        name for name, values in network.named_parameters() if torch.equal(values, before[name])
    ]
    assert not same


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    torch.save(efficientat.EfficientAT(0.4).state_dict(), path)
    with pytest.raises(WeightsError, match=r"not the published mn04_as_mAP_432\.pt"):
        efficientat.Encoder(path).network()


@pytest.mark.shared
@pytest.mark.parametrize(
    ("track", "wanted"),
    [("reggae.00000", {"Music": 0.89, "Reggae": 0.37}), ("metal.00000", {"Heavy metal": 0.54})],
)
def test_known_outputs(shared: Path, track: str, wanted: dict[str, float]) -> None:
    """They are stated to two digits, and were computed from the first 10 s of the tracks."""
    folder = shared / "weights/efficientat-mn04"
    with (folder / "class_labels_indices.csv").open(newline="") as table:
        names = [row["display_name"] for row in csv.DictReader(table)]
    encoder = efficientat.Encoder(folder / "mn04_as_mAP_432.pt")
    sound = audio.load(shared / f"data/gtzan-audio/{track[:-6]}/{track}.flac", duration=10.0)
    (logits,) = encoder.embed(sound, layer="logits").values
    probabilities = dict(zip(names, 1 / (1 + np.exp(-logits)), strict=True))
    for name, probability in wanted.items():
        assert probabilities[name] == pytest.approx(probability, abs=0.006)
