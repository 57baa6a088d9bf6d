"""What makes encoders fast changes nothing: Winograd's convolutions, and graphs in ONNX Runtime."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from clips import music, write_wav
from genrescope.audio import Waveform
from genrescope.encoders import Embedding, Weights, base
from genrescope.encoders.layer import embedding_key
from genrescope.errors import GenrescopeError

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402 - torch first

from genrescope.encoders._vggish import VGGish, WinogradVGGish  # noqa: E402
from genrescope.encoders._winograd import Winograd, max_pooled  # noqa: E402
from genrescope.encoders.graph import layer_to_onnx, to_onnx  # noqa: E402
from genrescope.encoders.weights import put, read_state  # noqa: E402


class Small(nn.Module):
    """A convolution, and means of its output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(64, 5, 3)

    def forward(self, segments: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"mean": self.conv(segments).mean(dim=2), "most": self.conv(segments).amax(dim=2)}


class Encoder(base.Encoder):
    """VGGish's front end and a small network."""

    name = "small"
    layers: ClassVar = {"mean": 5, "most": 5}
    default_layer = "mean"
    feature: ClassVar = {"kind": "vggish_mel"}
    seconds = 0.96
    step = 0.96
    uses_onnx = True
    built = 0

    def build(self) -> Small:
        type(self).built += 1
        return Small()

    def load(self, network: nn.Module) -> None:
        path = self.file(self.weights[0])
        put(network, read_state(path), path)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of weights for it, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.manual_seed(0)
    path = tmp_path / "small.pt"
    torch.save(Small().state_dict(), path)
    content = path.read_bytes()
    known = Weights("small.pt", "", hashlib.sha256(content).hexdigest(), len(content), "MIT", "")
    monkeypatch.setattr(Encoder, "weights", (known,), raising=False)
    monkeypatch.setattr(Encoder, "built", 0)
    return path


def sounds() -> list[Waveform]:
    return [Waveform(music(s, seed=n, rate=16000), 16000) for n, s in enumerate([3, 0.5, 7, 2])]


@pytest.mark.parametrize("high", [4, 12])
def test_winograd_is_the_convolution(high: int) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(48, 20, 3, padding=1)
    maps = torch.randn(3, 48, high, 8)
    with torch.inference_mode():
        wanted = nn.functional.relu(convolution(maps))
        found = Winograd(convolution)(maps.permute(2, 3, 0, 1))
        assert found.shape == (high, 8, 3, 20)
        assert (found.permute(2, 3, 0, 1) - wanted).abs().max() < 1e-5 * wanted.max()
        fewer = nn.functional.max_pool2d(wanted, 2)
        assert (max_pooled(found).permute(2, 3, 0, 1) - fewer).abs().max() < 1e-5 * wanted.max()


def test_vggish_to_be_exported_is_vggish() -> None:
    torch.manual_seed(0)
    network = VGGish().eval()
    segments = 3 * torch.randn(2, 64, 96)
    with torch.inference_mode():
        wanted, found = network(segments), WinogradVGGish(network)(segments)
    assert found.keys() == wanted.keys()
    for layer in ("conv", "fc1", "fc2", "fc3"):
        assert (found[layer] - wanted[layer]).abs().max() < 1e-5 * wanted[layer].max()
    assert (found["pca"] - wanted["pca"]).abs().max() <= 1  # of 256 levels


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_onnx_runtime_gives_what_torch_gives(weights: Path, batch_size: int) -> None:
    encoder = Encoder(weights, device="cpu")
    torchs = Encoder(weights, device="cpu")
    torchs.uses_onnx = False  # type: ignore[misc]
    alone = [torchs.embed(sound, layer="most") for sound in sounds()]
    assert not torchs.sessions
    together = list(encoder.embed_many(sounds(), layer="most", batch_size=batch_size))
    again = list(encoder.embed_many(sounds(), layer="most", batch_size=batch_size))
    assert list(encoder.sessions) == ["most"]
    for one, other, same in zip(alone, together, again, strict=True):
        assert isinstance(other, Embedding) and isinstance(same, Embedding)
        np.testing.assert_allclose(other.values, one.values, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(same.values, other.values)
        np.testing.assert_array_equal(other.starts, one.starts)
        assert other.padded == one.padded


def test_a_graph_is_exported_once_for_each_layer_and_content(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Encoder(weights, device="cpu")
    wanted = [e.values for e in first.embed_many(sounds())]
    assert Encoder.built == 1
    # The weights tell that it is the same graph: the network is not even built.
    second = Encoder(weights, device="cpu")
    for one, other in zip(wanted, second.embed_many(sounds()), strict=True):
        np.testing.assert_array_equal(one, other.values)
    assert Encoder.built == 1
    third = Encoder(weights, device="cpu")
    third.step = 0.48
    embeddings = [e.values for e in third.embed_many(sounds())]
    assert len(embeddings[0]) > len(wanted[0]) and Encoder.built == 1, (
        "of segments that overlap too"
    )
    list(Encoder(weights, device="cpu").embed_many(sounds(), layer="most"))
    assert Encoder.built == 2
    # Other weights are another graph.
    torch.save(Small().state_dict(), weights)
    content = weights.read_bytes()
    known = Weights("small.pt", "", hashlib.sha256(content).hexdigest(), 0, "MIT", "")
    monkeypatch.setattr(Encoder, "weights", (known,))
    other = [e.values for e in Encoder(weights, device="cpu").embed_many(sounds())]
    assert Encoder.built == 3
    assert np.abs(other[0] - wanted[0]).max() > 1e-3


def test_precisions_are_kept_apart(weights: Path, tmp_path: Path) -> None:
    file = write_wav(tmp_path / "a.wav", 3)
    exact, coarse = (Encoder(weights, device="cpu", precision=p) for p in ("float32", "bfloat16"))
    assert embedding_key(exact, "mean") != embedding_key(coarse, "mean")
    one, other = (next(e.embed_many([file])).values for e in (exact, coarse))
    assert not coarse.sessions, "bfloat16 is torch's"
    assert 0 < np.abs(one - other).max() < 0.05 * np.abs(one).max()
    np.testing.assert_array_equal(next(exact.embed_many([file])).values, one)


def test_a_graph_that_is_off_is_refused() -> None:
    torch.manual_seed(0)
    network, other = Small().eval(), Small().eval()
    with pytest.raises(GenrescopeError, match="mean differ from torch"):
        layer_to_onnx(network, other, "mean", (64, 96))


class Counting(nn.Module):
    """Takes any number of segments in torch; exported, the number that it was traced with."""

    def forward(self, segments: torch.Tensor) -> torch.Tensor:
        return segments.reshape(int(segments.shape[0]), -1)


class Three(nn.Module):
    """Always gives three of them."""

    def forward(self, segments: torch.Tensor) -> torch.Tensor:
        return segments.reshape(3, -1)


class Constant(nn.Module):
    """The same number of each segment, and another one when exported."""

    def __init__(self, inside: float, exported: float) -> None:
        super().__init__()
        self.inside, self.exported = inside, exported

    def forward(self, segments: torch.Tensor) -> torch.Tensor:
        number = self.exported if torch.onnx.is_in_onnx_export() else self.inside
        return 0 * segments.flatten(1) + number


@pytest.mark.parametrize(
    ("network", "words"),
    [(Counting(), "the graph fails at 1|of 1 segments"), (Three(), r"of 1 segments .* \(3, 4\)")],
)
def test_a_graph_for_one_number_of_segments_is_refused(network: nn.Module, words: str) -> None:
    with pytest.raises(GenrescopeError, match=words) as caught:
        to_onnx(network, (3, 4), ("logits",))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("inside", "exported"), [(0, 1), (0, 0.9), (1, 0), (128, 130), (0.5, 1)])
def test_other_numbers_are_refused(inside: float, exported: float) -> None:
    with pytest.raises(GenrescopeError, match="logits differ from torch"):
        to_onnx(Constant(inside, exported), (3, 4), ("logits",))


def test_what_is_rounded_may_fall_to_the_next_number() -> None:
    assert to_onnx(Constant(128, 129), (3, 4), ("logits",))
