"""MERT-v1-95M, a transformer trained on 20 000 hours of music by self-supervision.

Li et al., "MERT: acoustic music understanding model with large-scale self-supervised training"
(ICLR 2024). The network is HuBERT as the library transformers has it, of the sizes that the authors
publish; none of their code is run, and no server is contacted. What the network needed in its own
training alone is left out (masks) or folded in (the weight norm of one convolution).

Each segment is brought to mean 0 and deviation 1, as the configuration published with the weights
says (`do_normalize`). The authors' training code did not (issue 20 of their repository).
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.utils import parametrize

from genrescope.encoders import base
from genrescope.encoders.published import MERT as CHECKPOINT
from genrescope.encoders.weights import Weights, WeightsError, put, read_state
from genrescope.errors import RecipeError

PARAMETERS = 94_371_712
"""Of the published network; without the mask and the folded norm 896 fewer are left."""

ARCHITECTURE: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "conv_bias": False,
    "feat_extract_norm": "group",
    "feat_extract_activation": "gelu",
    "feat_proj_layer_norm": True,
    "do_stable_layer_norm": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "layer_norm_eps": 1e-5,
    "mask_time_prob": 0.0,  # masks were for its own training
}
"""As the authors' `mert_base.json` has it, but for the masks."""

_LAYERS, _WIDTH = 12, 768
_EPSILON = 1e-7  # of transformers' normalisation
_MASK = "masked_spec_embed"
_POSITIONS = "encoder.pos_conv_embed.conv"
# Lengths and directions of the weights of the position convolution: torch's names until version
# 2.0, which the published file has, and its names since.
_NORMED = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)


class Encoder(base.Encoder):
    """MERT-95M: 768 numbers for 5 s of music, the length of its training.

    The layers: `layer_0`, the output of the convolutions with position embeddings, `layer_1` to
    `layer_12` after each layer of the transformer, all as means over the segment. Which is best
    depends on the task; the authors advise the last for general use (issue 11 of their repository).

    Its weights may also be a `.safetensors` file of the same names, of which no hash is published.
    """

    name = "mert"
    layers: ClassVar = {f"layer_{number}": _WIDTH for number in range(_LAYERS + 1)}
    default_layer = f"layer_{_LAYERS}"
    weights = (CHECKPOINT,)
    feature: ClassVar = {"kind": "waveform", "sample_rate": 24000}
    seconds = 5.0
    step = 5.0

    def build(self) -> MERT:
        """The network, with random weights.

        Raises
        ------
        RecipeError
            When transformers is missing.
        """
        return MERT(_hubert())

    def file(self, weights: Weights) -> Path:
        """Where the weights are; of a `.safetensors` no hash is published, so none is checked."""
        if self.weights_path is not None and self.weights_path.suffix == ".safetensors":
            return self.weights_path
        return super().file(weights)

    def load(self, network: nn.Module) -> None:
        """Put the published weights into the network, or those of a `.safetensors`."""
        path = self.file(CHECKPOINT)
        safe = path.suffix == ".safetensors"
        stored = _read_safetensors(path) if safe else read_state(path)
        put(network.get_submodule("hubert"), plain_state(stored), path)


class MERT(nn.Module):
    """HuBERT on input of mean 0 and standard deviation 1; its layers as means over time."""

    def __init__(self, hubert: nn.Module) -> None:
        super().__init__()
        self.hubert = hubert

    def forward(self, segments: Tensor) -> dict[str, Tensor]:
        """All layers of segments of samples, `[n, 320, frames]` to `[n, 768]` each."""
        samples = segments.transpose(1, 2).flatten(1)
        samples = samples - samples.mean(dim=1, keepdim=True)
        samples = samples / ((samples**2).mean(dim=1, keepdim=True) + _EPSILON).sqrt()
        states = self.hubert(samples, output_hidden_states=True).hidden_states
        return {f"layer_{number}": state.mean(dim=1) for number, state in enumerate(states)}


def plain_state(stored: dict[str, Any]) -> dict[str, Any]:
    """Published tensors by our network's names: without the mask, the weight norm folded in.

    Parameters
    ----------
    stored
        By HuBERT's names; weights of the convolution over positions are stored as lengths, one a
        position, and directions.
    """
    state = {name: values for name, values in stored.items() if name != _MASK}
    for names in _NORMED:
        length, direction = (f"{_POSITIONS}.{name}" for name in names)
        if length in state and direction in state:
            lengths, directions = state.pop(length), state.pop(direction)
            norm = directions.float().norm(dim=(0, 1), keepdim=True)
            state[f"{_POSITIONS}.weight"] = directions * (lengths / norm)
    return state


def _hubert() -> nn.Module:
    """HuBERT of the published sizes, its position convolution without weight norm."""
    # Nothing here needs a server; the library must not contact one by itself either.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        transformers = import_module("transformers")
        make, settings = transformers.HubertModel, transformers.HubertConfig
    except ModuleNotFoundError as error:
        needs = f"needs {error.name}: pip install 'genrescope[mert]'"
        raise RecipeError(f"encoder mert: {needs}") from None
    model: nn.Module = make(settings(**ARCHITECTURE))
    parametrize.remove_parametrizations(model.get_submodule(_POSITIONS), "weight")
    return model


def _read_safetensors(path: Path) -> dict[str, Any]:
    """Read the tensors of a `.safetensors` file.

    Raises
    ------
    WeightsError
        When it is damaged, or not there.
    """
    try:
        found: dict[str, Any] = import_module("safetensors.torch").load_file(path)
    except ModuleNotFoundError as error:
        needs = f"needs {error.name}: pip install 'genrescope[mert]'"
        raise RecipeError(f"encoder mert: {needs}") from None
    except Exception as error:  # the library's own error has no other base
        raise WeightsError(path, f"not readable as safetensors: {error}") from None
    return found
