"""Networks: shapes, the figures the papers name, export, settings that can't be, learning."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

pytest.importorskip("torch", reason="needs genrescope[train]")

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import nn

from genrescope.encoders.graph import to_onnx
from genrescope.errors import RecipeError
from genrescope.models import make_model, model_kinds

Settings = dict[str, Any]
GENRES = 5
# Every network with a small shape; kth's and deepsound's own shapes are below.
SMALL: list[tuple[Settings, tuple[int, int]]] = [
    ({"kind": "cnn", "channels": [4, 8]}, (8, 12)),
    ({"kind": "cnn", "channels": [4, 8], "stem": "strided", "pool": "mean_max"}, (13, 8)),
    ({"kind": "mlp", "hidden": [16, 8], "dropout": 0.2}, (6, 5)),
    ({"kind": "lstm", "units": [12, 6]}, (6, 9)),
    ({"kind": "kth_cnn", "filters": [4, 4, 8], "dense_units": 7}, (9, 17)),
    ({"kind": "deepsound_cnn", "filters": [4, 8], "hidden": [9, 6]}, (13, 10)),
    ({"kind": "embedding_cnn", "filters": [4, 8]}, (16, 11)),
]


def _kind(value: object) -> str:
    return str(value["kind"]) if isinstance(value, dict) else ""


def test_every_network_is_tried_here() -> None:
    # Pretrained networks have tests of their own, in test_embedding_recipes.py.
    others = {"classical", "finetuned"}
    assert {settings["kind"] for settings, _ in SMALL} | others == set(model_kinds())


@pytest.mark.parametrize(("settings", "shape"), SMALL, ids=_kind)
def test_a_network_gives_what_it_promises(settings: Settings, shape: tuple[int, int]) -> None:
    network = make_model(settings, shape=shape, genres=GENRES).eval()
    logits, embedding = network(torch.randn(3, *shape))
    assert logits.shape == (3, GENRES)
    assert embedding.shape == (3, network.embedding_size)
    again, _ = network(torch.randn(3, *shape))
    assert not torch.allclose(logits, again)  # it depends on its input


@pytest.mark.parametrize(("settings", "shape"), SMALL, ids=_kind)
def test_an_exported_network_takes_any_number_of_segments(
    settings: Settings, shape: tuple[int, int]
) -> None:
    network = make_model(settings, shape=shape, genres=GENRES).eval()
    # to_onnx itself raises where ONNX Runtime and torch differ by more than 1e-4
    model = to_onnx(network, shape, ("logits", "embedding"))
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    for n in (1, 7):
        segments = torch.randn(n, *shape)
        with torch.inference_mode():
            expected = network(segments)
        given = session.run(["logits", "embedding"], {"segments": segments.numpy()})
        for ours, theirs in zip(expected, given, strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("settings", "shape"), SMALL, ids=_kind)
def test_a_network_learns(settings: Settings, shape: tuple[int, int], precision: str) -> None:
    torch.manual_seed(0)
    labels = torch.arange(40) % 2
    segments = torch.randn(40, *shape) + 2.0 * labels[:, None, None]
    network = make_model(settings, shape=shape, genres=2).train()
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(60):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            try:
                logits, _ = network(segments)
            except RuntimeError as error:
                if precision == "fp32" or "primitive descriptor" not in str(error):
                    raise
                pytest.skip("torch has no such network in bfloat16 for this processor")
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    logits, _ = network.eval()(segments)
    assert (logits.argmax(1) == labels).float().mean() > 0.9


def _sizes(network: nn.Module, kind: type[nn.Module]) -> list[tuple[int, ...]]:
    return [tuple(m.weight.shape) for m in network.modules() if isinstance(m, kind)]


def test_kth_mlp_has_four_layers_of_256() -> None:
    network = make_model({"kind": "mlp"}, shape=(20, 129), genres=10)
    assert _sizes(network, nn.Linear) == [(256, 2580), *[(256, 256)] * 3, (10, 256)]


def test_berkeley_head_is_3968_256_8() -> None:
    network = make_model({"kind": "mlp", "hidden": [256]}, shape=(128, 31), genres=8)
    assert _sizes(network, nn.Linear) == [(256, 3968), (8, 256)]


def test_kth_lstm_has_128_and_32_cells() -> None:
    network = make_model({"kind": "lstm"}, shape=(60, 129), genres=10)
    layers = [m for m in network.modules() if isinstance(m, nn.LSTM)]
    assert [(m.input_size, m.hidden_size) for m in layers] == [(60, 128), (128, 32)]
    assert network.embedding_size == 32


def test_the_lstm_hears_the_order_of_frames() -> None:
    network = make_model({"kind": "lstm", "units": [8]}, shape=(4, 10), genres=3).eval()
    segments = torch.randn(2, 4, 10)
    assert not torch.allclose(network(segments)[0], network(segments.flip(2))[0])


@pytest.mark.parametrize("size", [20, 60])
@pytest.mark.parametrize("frames", [34, 129])
def test_kth_cnn_takes_the_shapes_of_its_paper(size: int, frames: int) -> None:
    network = make_model({"kind": "kth_cnn"}, shape=(size, frames), genres=10)
    assert len(_sizes(network, nn.Conv2d)) == 3
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout)] == [0.25] * 3
    assert network(torch.randn(2, size, frames))[0].shape == (2, 10)


def test_deepsound_networks_take_the_shapes_of_their_paper() -> None:
    for kind, shape in (("deepsound_cnn", (13, 129)), ("embedding_cnn", (128, 31))):
        network = make_model({"kind": kind}, shape=shape, genres=10)
        assert network(torch.randn(2, *shape))[0].shape == (2, 10)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"kind": "cnn"}, "4 poolings need segments of at least 16 × 16, not 13 × 9"),
        ({"kind": "kth_cnn", "filters": [4, 4, 4, 4]}, "4 poolings"),
        ({"kind": "deepsound_cnn", "filters": []}, "filters"),
        ({"kind": "deepsound_cnn", "hidden": [8, 0]}, "hidden"),
        ({"kind": "embedding_cnn", "filters": [8] * 4}, "4 poolings"),
        ({"kind": "embedding_cnn", "dense_units": 0}, "dense_units"),
        ({"kind": "mlp", "hidden": []}, "hidden"),
        ({"kind": "mlp", "hidden": 256}, "hidden"),
        ({"kind": "mlp", "hidden": [2.5]}, "hidden"),
        ({"kind": "mlp", "dropout": 1.5}, "dropout"),
        ({"kind": "lstm", "units": [128, -1]}, "units"),
        ({"kind": "lstm", "cells": [3]}, "cells"),
        ({"kind": "transformer"}, "no model 'transformer'; there are: .*lstm"),
        ({"kind": "_layers"}, "no model '_layers'"),
    ],
)
def test_impossible_settings_are_named(settings: Settings, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        make_model(settings, shape=(13, 9), genres=3)
