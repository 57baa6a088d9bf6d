"""Layers that several networks share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


def layer_sizes(name: str, sizes: object) -> list[int]:
    """The sizes that a recipe gives, as a list.

    Raises
    ------
    ValueError
        When there are none, or one is not a positive whole number.
    """
    given = list(sizes) if isinstance(sizes, Sequence) else []
    if not given or any(not isinstance(size, int) or size < 1 for size in given):
        raise ValueError(f"{name} has to be a list of positive whole numbers, not {sizes}")
    return given


def dense(inputs: int, sizes: Sequence[int], dropout: float) -> nn.Sequential:
    """Fully connected layers with ReLU, each followed by dropout where `dropout` is not 0.

    Raises
    ------
    ValueError
        When `dropout` is not a probability.
    """
    layers: list[nn.Module] = []
    for inside, outside in zip([inputs, *sizes[:-1]], sizes, strict=True):
        layers += [nn.Linear(inside, outside), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def dense_depths(layers: nn.Sequential, inputs: Tensor) -> dict[str, Tensor]:
    """The embeddings that the leiden paper takes from dense layers, `[n, nodes]`.

    Parameters
    ----------
    layers
        The layers that `dense` made, in evaluation mode.
    inputs
        Their input, `[n, inputs]`.

    Returns
    -------
    deep, shallow
        The outputs of the first and of the last dense layer.
    """
    deep: Tensor = layers[:2](inputs)
    shallow: Tensor = layers[2:](deep)
    # Times 1, so that an exported graph has an output for each, not two names for one.
    return {"deep": deep * 1.0, "shallow": shallow * 1.0}


def convolutions(
    shape: tuple[int, int], filters: Sequence[int], dropout: float
) -> tuple[nn.Sequential, int]:
    """Blocks of 3 × 3 convolution, ReLU, 2 × 2 max pooling and dropout, then flattened.

    Parameters
    ----------
    shape
        Size and frames of an image `[n, 1, size, frames]`; each block halves both.
    filters
        Filters of each block.
    dropout
        After each block; 0 leaves it out.

    Returns
    -------
    layers, outputs
        The blocks, and the number of their outputs for one image.

    Raises
    ------
    ValueError
        When a segment is too small to be halved that often, or `dropout` is not a probability.
    """
    check_halvings(shape, len(filters))
    layers: list[nn.Module] = []
    for inside, outside in zip([1, *filters[:-1]], filters, strict=True):
        layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        if dropout:
            layers.append(nn.Dropout(dropout))
    size, frames = (length // 2 ** len(filters) for length in shape)
    return nn.Sequential(*layers, nn.Flatten()), filters[-1] * size * frames


def check_halvings(shape: tuple[int, int], halvings: int) -> None:
    """Check that a segment is large enough for a number of 2 × 2 poolings.

    Raises
    ------
    ValueError
        When nothing is.
    """
    if min(shape) < 2**halvings:
        raise ValueError(
            f"{halvings} poolings need segments of at least {2**halvings} × {2**halvings}, "
            f"not {shape[0]} × {shape[1]}"
        )
