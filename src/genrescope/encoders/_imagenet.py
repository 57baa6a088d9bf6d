"""Networks that were trained on ImageNet's photographs, applied to pictures of spectrograms.

A spectrogram in grey levels is resized to the network's input size, repeated in three channels, and
scaled as in the network's training. VGG16, InceptionV3 and Xception are built by Keras, on its
torch backend.
"""

from __future__ import annotations

import hashlib
import os
import random
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from genrescope.encoders import base
from genrescope.encoders.weights import WeightsError
from genrescope.errors import RecipeError

# Keras's preprocessing: factor and offsets of each channel for levels from 0 to 1.
SYMMETRIC = (2.0, (-1.0, -1.0, -1.0))
CAFFE = (255.0, (-103.939, -116.779, -123.68))  # blue, green, red

_SHAPE = Tensor.shape.__get__  # type: ignore[attr-defined]


class Pictures(base.Encoder):
    """A network for photographs, applied to spectrograms.

    The layers are those of the leiden paper: `none`, the picture itself, resized to the network's
    input size, row by row from the top; `immediate`, the means of the network's last maps.

    The front end can be computed from audio and from GTZAN's stored spectrograms. Pictures of any
    other size are taken as well.

    Attributes
    ----------
    side
        Height and width of the network's input.
    levels
        Factor and offsets of the grey levels.
    """

    default_layer = "immediate"
    feature: ClassVar = {
        "kind": "image",
        "sample_rate": 22050,
        "n_fft": 2048,
        "hop_length": 1920,
        "center": False,
        "n_bins": 544,
        "n_mels": 224,
    }
    seconds = 10.0
    step = 5.0
    any_length = True
    side: ClassVar[int]
    levels: ClassVar[tuple[float, tuple[float, float, float]]] = SYMMETRIC

    def build(self) -> PictureNetwork:
        """The network, with random weights."""
        return PictureNetwork(self.backbone(), self.side, *self.levels)

    @abstractmethod
    def backbone(self) -> nn.Module:
        """From pictures `[n, 3, side, side]` to the means of the last maps, `[n, size]`."""


class PictureNetwork(nn.Module):
    """The preprocessing of grey pictures of any size, and the network.

    Attributes
    ----------
    palette
        Red, green and blue from 0 to 1 of equally wide ranges of grey levels, `[colours, 3]`, for
        a network that is given a coloured picture; None by default.
    """

    offset: Tensor
    palette: Tensor | None

    def __init__(
        self, backbone: nn.Module, side: int, factor: float, offsets: tuple[float, float, float]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.side, self.factor = side, factor
        self.register_buffer("offset", torch.tensor(offsets).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("palette", None, persistent=False)
        # Caffe's networks take blue before green and red.
        self.channels = slice(None, None, -1) if (factor, offsets) == CAFFE else slice(None)

    def paint(self, colours: Sequence[Sequence[float]]) -> None:
        """Show grey levels in colours, see `palette`."""
        self.palette = torch.tensor(colours, dtype=torch.float32, device=self.offset.device)

    def forward(self, segments: Tensor) -> dict[str, Tensor]:
        """Both layers of grey levels from 0 to 1, `[n, rows, frames]` to `[n, size]` each."""
        size = (self.side, self.side)
        grey = functional.interpolate(segments.unsqueeze(1), size, mode="bilinear")
        picture = grey.expand(-1, 3, -1, -1)
        if self.palette is not None:
            count = len(self.palette)
            painted = self.palette[(segments * count).long().clamp(0, count - 1)]
            painted = torch.stack(painted.unbind(-1)[self.channels], dim=1)
            picture = functional.interpolate(painted, size, mode="bilinear")
        scaled = picture * self.factor + self.offset
        return {"none": grey.flatten(1), "immediate": self.backbone(scaled)}


class KerasPictures(Pictures):
    """A network of `keras.applications`.

    Its weights may be in any file that Keras writes (`.h5`, `.weights.h5`, `.keras`), for the
    network without its classifier.

    Attributes
    ----------
    application
        Its name in `keras.applications`.
    md5
        MD5 of the published file, as Keras gives it.
    """

    application: ClassVar[str]
    md5: ClassVar[str]

    def backbone(self) -> KerasNetwork:
        """The network of Keras, with random weights."""
        return KerasNetwork(keras_application(self.application, self.side))

    def load(self, network: nn.Module) -> None:
        """Put the published weights into the network, or those of a given file."""
        path = self.file(self.weights[0])
        if self.weights_path is None:
            check_md5(path, self.md5)
        assert isinstance(network, PictureNetwork) and isinstance(network.backbone, KerasNetwork)  # noqa: S101
        load_keras(network.backbone.model, path)

    def to_bfloat16(self, network: nn.Module) -> nn.Module:
        """The network in float32: Keras fixes a layer's precision when it is built."""
        return network


class KerasNetwork(nn.Module):
    """A model of Keras as a torch module: channels first, in torch's training mode."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pictures: Tensor) -> Tensor:
        """From `[n, 3, side, side]` to `[n, size]`."""
        channels_last = pictures.float().permute(0, 2, 3, 1)
        with _traceable() if torch.onnx.is_in_onnx_export() else nullcontext():
            found: Tensor = self.model(channels_last, training=self.training)
        return found


@contextmanager
def _traceable() -> Iterator[None]:
    """Shapes as plain numbers while a network of Keras is exported.

    Keras computes paddings from shapes. Traced, these would become nodes of the graph where ONNX
    needs numbers. All pictures have one size, and nothing is computed from the batch size.
    """
    with _PlainShapes(), warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        yield


class _PlainShapes(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        return tuple(map(int, found)) if func == _SHAPE else found


def keras_application(name: str, side: int) -> Any:
    """A model of `keras.applications` without its classifier, with random weights.

    The weights depend on torch's seed.

    Raises
    ------
    RecipeError
        When Keras is missing or does not run on torch.
    """
    os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        keras = import_module("keras")
    except ModuleNotFoundError as error:
        needs = f"needs {error.name}: pip install 'genrescope[images]'"
        raise RecipeError(f"encoder {name}: {needs}, and KERAS_BACKEND=torch") from None
    if keras.config.backend() != "torch":
        reason = f"Keras runs on {keras.config.backend()} here: set KERAS_BACKEND=torch"
        raise RecipeError(f"encoder {name}: {reason}")
    order, drawn = keras.config.image_data_format(), random.getstate()
    try:
        keras.config.set_image_data_format("channels_last")
        random.seed(torch.initial_seed())  # Keras draws the seeds of its layers from it
        make = getattr(keras.applications, name)
        return make(weights=None, include_top=False, pooling="avg", input_shape=(side, side, 3))
    finally:
        keras.config.set_image_data_format(order)
        random.setstate(drawn)


def check_md5(path: Path, md5: str) -> None:
    """Refuse a file that is not the published one, where only its MD5 is published.

    Raises
    ------
    WeightsError
        When it is another.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise WeightsError(path, f"not the published file: MD5 {found}, not {md5}")


def load_keras(model: Any, path: Path) -> None:
    """Load weights that Keras wrote into a model of Keras.

    Raises
    ------
    WeightsError
        When the file is damaged or does not fit.
    """
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(path, f"not weights for {model.name}: {reason[:300]}") from None
