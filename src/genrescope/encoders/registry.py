"""Encoders by name: the table of those built in, and entry points of other packages.

Another package adds an encoder by an entry point of the group `genrescope.encoders` whose name is
the encoder's and whose value is a class derived from `genrescope.encoders.Encoder`.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from genrescope.encoders.base import Encoder
from genrescope.encoders.published import PUBLISHED
from genrescope.encoders.weights import Weights
from genrescope.registry import Registry

_BUILTIN = {
    "efficientat": "genrescope.encoders.efficientat:Encoder",
    "efficientat_mn10": "genrescope.encoders.efficientat_mn10:Encoder",
    "inception_v3": "genrescope.encoders.inception_v3:Encoder",
    "mert": "genrescope.encoders.mert:Encoder",
    "mobilenet_v2": "genrescope.encoders.mobilenet_v2:Encoder",
    "musicnn": "genrescope.encoders.musicnn:Encoder",
    "vgg16": "genrescope.encoders.vgg16:Encoder",
    "vggish": "genrescope.encoders.vggish:Encoder",
    "xception": "genrescope.encoders.xception:Encoder",
}

ENCODERS = Registry(
    "encoder", "genrescope.encoders", _BUILTIN, extras=dict.fromkeys(_BUILTIN, "encoders")
)


def encoder_kinds() -> list[str]:
    """Names of the encoders there are."""
    return ENCODERS.names()


def encoder_class(name: str) -> type[Encoder]:
    """The class of an encoder, by its name.

    Raises
    ------
    RecipeError
        When there is no such encoder, or a package that it needs is missing.
    """
    encoder: type[Encoder] = ENCODERS.get(name)
    return encoder


def published_weights(name: str) -> tuple[Weights, ...]:
    """The files of an encoder's weights; torch is not imported for those built in.

    Raises
    ------
    RecipeError
        As `encoder_class`.
    """
    if name in PUBLISHED and find_spec("torch") is not None:
        return PUBLISHED[name]
    return encoder_class(name).weights


def make_encoder(
    name: str, weights: Path | None = None, *, weights_seed: int | None = None
) -> Encoder:
    """Build an encoder; its weights are found, or downloaded, when they are first needed.

    Parameters
    ----------
    name
        One of `encoder_kinds()`.
    weights
        A file of weights, or a folder with all its files; by default the cache.
    weights_seed
        Seed of random weights, for the architecture alone.

    Raises
    ------
    RecipeError
        When there is no such encoder, or a package that it needs is missing.
    """
    return encoder_class(name)(weights, weights_seed=weights_seed)
