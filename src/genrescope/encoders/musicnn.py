"""MusiCNN, trained to give the 50 commonest tags of the Million Song Dataset.

Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging"
(ISMIR 2019, late-breaking demo). The weights are those of the authors' own Python package, musicnn
0.1.0 (ISC licence), a TensorFlow checkpoint that is read without TensorFlow. The conversion to
TensorFlow.js that the Music Technology Group publishes (not for commercial use) is read too, where
its files are given or in the cache; in it batch normalisation is a factor and an offset already.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from genrescope.encoders import base
from genrescope.encoders.shipped import fill, graph_of, layout_of
from genrescope.encoders.tensorflow_checkpoint import read_checkpoint
from genrescope.encoders.weights import Weights, WeightsError, is_here, put

if TYPE_CHECKING:
    from torch import nn

WHEEL = Weights(
    file="musicnn-0.1.0-py3-none-any.whl",
    url="pip:musicnn==0.1.0",
    sha256="f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa",
    size=29_292_476,
    licence="ISC",
    about="the authors' package: MSD-MusiCNN as a TensorFlow checkpoint",
)
_CHECKPOINT = "musicnn/MSD_musicnn/"
# Of TensorFlow's layers, by default.
_EPSILON = 1e-3

_ESSENTIA_JS = "https://raw.githubusercontent.com/MTG/essentia.js"
_LICENCE = "CC-BY-NC-SA-4.0"
MODEL = Weights(
    file="model.json",
    url=f"{_ESSENTIA_JS}/e22727164f568f7b845da958ea77b604ab0da7ed"
    "/test/data/models/msd-musicnn-1/model.json",
    sha256="2df238355538b680e70f06e30fb04df52f133da6ea1915530ec8c590da073762",
    size=30_445,
    licence=_LICENCE,
    about="MSD-MusiCNN for TensorFlow.js: names and shapes; not for commercial use",
)
SHARD = Weights(
    file="group1-shard1of1.bin",
    url=f"{_ESSENTIA_JS}/d87a8c5e0e98d4c3aa6c2919bfdb5b8d923979ca"
    "/examples/examples/starter-code/autotagging/models/msd-musicnn-1/group1-shard1of1.bin",
    sha256="7ebfb970c7389b6276ffc34f0d7fc80ba2765e5310829f3618ad5b977326667d",
    size=3_148_708,
    licence=_LICENCE,
    about="MSD-MusiCNN for TensorFlow.js: the numbers; not for commercial use",
)

TAGS = (
    *("rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s"),
    *("alternative rock", "jazz", "beautiful", "metal", "chillout", "male vocalists"),
    *("classic rock", "soul", "indie rock", "Mellow", "electronica", "80s", "folk", "90s", "chill"),
    *("instrumental", "punk", "oldies", "blues", "hard rock", "ambient", "acoustic"),
    *("experimental", "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country"),
    *("easy listening", "sexy", "catchy", "funk", "electro", "heavy metal", "Progressive rock"),
    *("60s", "rnb", "indie pop", "sad", "House", "happy"),
)
"""The tags of the layer `taggram`, in its order."""

_DENSE = 200


class Encoder(base.Encoder):
    """MusiCNN: 200 numbers for 3 s of music, or the probabilities of 50 tags.

    The layers: `penultimate`, after the dense layer, its rectifier and its normalisation, as the
    published code gives it; `taggram`, the tags' probabilities, see `TAGS`. A segment is 187
    frames; the next one begins 61 frames later, as in the published taggrams.
    """

    name = "musicnn"
    layers: ClassVar = {"penultimate": _DENSE, "taggram": len(TAGS)}
    default_layer = "penultimate"
    weights: ClassVar[tuple[Weights, ...]] = (WHEEL,)
    feature: ClassVar = {"kind": "musicnn_mel"}
    seconds = 187 * 256 / 16000
    step = 61 * 256 / 16000

    def __init__(self, weights: Path | None = None, **settings: Any) -> None:
        super().__init__(weights, **settings)
        if self._converted():
            self.weights = (MODEL, SHARD)  # type: ignore[misc]

    def _converted(self) -> bool:
        """Whether the files of the conversion are given, or they alone are in the cache."""
        if self.weights_path is None:
            return not is_here(WHEEL) and is_here(MODEL) and is_here(SHARD)
        if self.weights_path.is_dir():
            here = (self.weights_path / WHEEL.file).is_file()
            return not here and (self.weights_path / MODEL.file).is_file()
        return self.weights_path.suffix == ".json"

    def build(self) -> nn.Module:
        """The network, with random weights."""
        from genrescope.encoders._musicnn import MusiCNN

        return MusiCNN()

    def load(self, network: nn.Module) -> None:
        """Put the published weights into the network."""
        import torch

        path, state = self._arrays()
        put(network, {name: torch.from_numpy(values) for name, values in state.items()}, path)

    def packaged_graph(self, layer: str) -> tuple[bytes, bytes]:  # noqa: ARG002 - the same for both
        """The graph of both layers that comes with the package, and its weights."""
        path, state = self._arrays()
        return graph_of("musicnn"), fill(layout_of("musicnn"), state, path)

    def _arrays(self) -> tuple[Path, dict[str, NDArray[np.float32]]]:
        """The file that the weights are from, and the network's tensors."""
        if self.weights == (WHEEL,):
            path = self.file(WHEEL)
            return path, _state(folded(read_wheel(path), path), path)
        path = self.file(MODEL)
        return path, _state(read_tensorflow_js(path, self.file(SHARD)), path)


def read_wheel(path: Path) -> dict[str, NDArray[Any]]:
    """Read the tensors of MSD-MusiCNN from the authors' package.

    Raises
    ------
    WeightsError
        When it is damaged, or of another kind.
    """
    try:
        with zipfile.ZipFile(path) as wheel:
            index = wheel.read(f"{_CHECKPOINT}.index")
            data = wheel.read(f"{_CHECKPOINT}.data-00000-of-00001")
    except (OSError, KeyError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise WeightsError(path, f"not the package musicnn: {error}") from None
    return dict(read_checkpoint(index, data, path))


def folded(tensors: dict[str, NDArray[Any]], path: Path) -> dict[str, NDArray[Any]]:
    """The tensors with batch normalisation as a factor and an offset, as the conversion has them.

    Raises
    ------
    WeightsError
        When one is missing.
    """
    found = dict(tensors)
    try:
        for number in range(11):
            name = f"batch_normalization_{number}" if number else "batch_normalization"
            gamma, beta, mean, variance = (
                tensors[f"{name}/{part}"].astype(np.float64)
                for part in ("gamma", "beta", "moving_mean", "moving_variance")
            )
            factor = gamma / np.sqrt(variance + _EPSILON)
            suffixes = ("FusedBatchNorm/Scaled", "FusedBatchNorm/Offset")
            if number > 8:  # those of vectors
                suffixes = ("batchnorm/mul", "batchnorm/sub")
            for suffix, values in zip(suffixes, (factor, beta - mean * factor), strict=True):
                found[f"model/{name}/{suffix}"] = values.astype(np.float32)
    except KeyError as error:
        raise WeightsError(path, f"holds no tensor {error}") from None
    return found


def read_tensorflow_js(model: Path, shard: Path) -> dict[str, NDArray[Any]]:
    """Read the tensors of a model for TensorFlow.js that has one file of weights.

    Parameters
    ----------
    model
        `model.json`, with the names, types and shapes of the tensors.
    shard
        The tensors one after the other, little-endian.

    Raises
    ------
    WeightsError
        When either is damaged or of another kind.
    """
    try:
        (group,) = json.loads(model.read_bytes())["weightsManifest"]
        entries = [(str(w["name"]), w["dtype"], tuple(w["shape"])) for w in group["weights"]]
        kinds = {"float32": "<f4", "int32": "<i4"}
        layout = [(name, np.dtype(kinds[kind]), shape) for name, kind, shape in entries]
        for name, _, shape in layout:
            if not all(type(length) is int and length >= 0 for length in shape):
                raise ValueError(f"shape of {name}")
        content = shard.read_bytes()
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(model, f"not a model for TensorFlow.js: {error!r}") from None
    tensors, position = {}, 0
    for name, kind, shape in layout:
        count = prod(shape)
        end = position + count * kind.itemsize
        if end > len(content):
            raise WeightsError(shard, f"ends within the tensor {name}")
        tensors[name] = np.frombuffer(content, kind, count, position).reshape(shape)
        position = end
    if position != len(content):
        extra = len(content) - position
        raise WeightsError(shard, f"holds {extra} bytes more than {model.name} says")
    return tensors


def _state(tensors: dict[str, NDArray[Any]], path: Path) -> dict[str, NDArray[np.float32]]:
    """The network's tensors from TensorFlow's, by their names in the published graph."""
    theirs = {"dense": "dense", "output": "dense_1"}
    theirs |= {f"front.{n}.conv": f"conv2d_{n}" if n else "conv2d" for n in range(5)}
    theirs |= {f"middle.{n}.conv": f"conv2d_{n + 5}" for n in range(3)}
    # TensorFlow: frames, bands or channels, 1, filters; dense layers in, out.
    axes = {"front": (3, 2, 0, 1), "middle": (3, 1, 0, 2), "dense": (1, 0), "output": (1, 0)}
    found = {}
    try:
        for ours, name in theirs.items():
            kernel = tensors[f"{name}/kernel"].transpose(axes[ours.split(".")[0]])
            found[f"{ours}.weight"] = kernel[..., 0] if ours.startswith("middle") else kernel
            found[f"{ours}.bias"] = tensors[f"{name}/bias"]
        scaled = ["input", *[f"front.{n}.scaled" for n in range(5)]]
        scaled += [f"middle.{n}.scaled" for n in range(3)]
        for number, ours in enumerate(scaled):
            number_part = f"_{number}" if number else ""
            name = f"model/batch_normalization{number_part}/FusedBatchNorm"
            found[f"{ours}.factor"] = tensors[f"{name}/Scaled"]
            found[f"{ours}.offset"] = tensors[f"{name}/Offset"]
        for number, ours in ((9, "pooled"), (10, "scaled")):
            name = f"model/batch_normalization_{number}/batchnorm"
            found[f"{ours}.factor"] = tensors[f"{name}/mul"]
            found[f"{ours}.offset"] = tensors[f"{name}/sub"]
    except KeyError as error:
        raise WeightsError(path, f"holds no tensor {error}") from None
    return {name: values.astype(np.float32) for name, values in found.items()}
