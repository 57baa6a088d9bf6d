"""Recipes that stand on pretrained networks: embeddings with a head, and networks that learn on."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from clips import write_spectrograms
from genrescope.datasets import scan
from genrescope.encoders import make_encoder
from genrescope.errors import RecipeError
from genrescope.features import Frontend, SegmentSettings
from genrescope.inference import Bundle, Classifier
from genrescope.models import make_model
from genrescope.training.embedding import Embedder
from genrescope.training.recipe import EmbeddingSettings, load_recipe
from genrescope.training.run import Run

# Random weights of a small network: what is tested is all that lies around them.
EMBEDDED = """
extends: _paper
name: embedded
feature: {kind: embedding, encoder: mobilenet_v2, layer: immediate, untrained: 0}
segments: {seconds: 14, overlap: 0.5}
training: {epochs: 3, batch_size: 4, learning_rate: 0.01}
variants:
  model:
    dense: {model: {kind: mlp, hidden: [16]}}
    svc: {model: {kind: classical, name: LR}}
"""
LEARNING = """
extends: _leiden
name: learning
feature: {n_mels: 64}
segments: {seconds: 14, overlap: 0.5}
model: {encoder: mobilenet_v2, untrained: 0, hidden: [16, 8], learning: 1}
training: {epochs: 1, batch_size: 4}
published: null
"""
SHAPE = (128, 40)
FINETUNED = {"kind": "finetuned", "encoder": "mobilenet_v2", "untrained": 0, "hidden": [8]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spectrograms(tmp_path_factory.mktemp("data"), tracks=5)


@pytest.mark.parametrize("head", ["dense", "svc"])
def test_an_encoder_and_a_head_become_one_bundle(data: Path, tmp_path: Path, head: str) -> None:
    recipe = tmp_path / "embedded.yaml"
    recipe.write_text(EMBEDDED)
    run = tmp_path / "run"
    Run(load_recipe(f"{recipe}/{head}"), scan(data), run).execute()
    classifier = Classifier.load(run)
    assert classifier.manifest.frontend.computed.kind == "image"
    assert "torch" not in {node.domain for node in _nodes(Bundle.load(run).model)}
    rows = list(csv.DictReader((run / "predictions.csv").open()))
    assert rows
    for row in rows:
        prediction = classifier.predict(data / row["genre"] / f"{row['track']}.png")
        assert prediction.genre == row["named"]
        assert prediction.confidence == pytest.approx(float(row["confidence"]), abs=1e-3)
        assert len(prediction.timeline) > 1, "several segments a track"
    assert json.loads((run / "metrics.json").read_text())["n"] == len(rows)


def test_a_network_that_learned_on_gives_its_four_depths(data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "learning.yaml"
    recipe.write_text(LEARNING)
    run = tmp_path / "run"
    Run(load_recipe(recipe), scan(data), run).execute()
    classifier = Classifier.load(run)
    sizes = {"none": 224 * 224, "immediate": 1280, "deep": 16, "shallow": 8}
    assert classifier.layers == {"embedding": 8, **sizes}
    track = data / "low" / "low.00000.png"
    depths = {layer: classifier.embed(track, layer=layer) for layer in classifier.layers}
    assert {name: values.shape for name, values in depths.items()} == {
        name: (size,) for name, size in classifier.layers.items()
    }
    np.testing.assert_allclose(depths["embedding"], classifier.predict(track).embedding, rtol=1e-6)
    np.testing.assert_array_equal(depths["embedding"], depths["shallow"])
    other = classifier.embed(data / "high" / "high.00000.png", layer="none")
    assert np.abs(other - depths["none"]).max() > 0.1, "another picture"
    with pytest.raises(ValueError, match="no layer 'middle'; there are: embedding, none"):
        classifier.embed(track, layer="middle")


def _nodes(model: bytes) -> list:
    import onnx

    return list(onnx.load_from_string(model).graph.node)


def test_the_graph_cuts_and_pools_as_numpy_does() -> None:
    encoder = make_encoder("vggish", untrained=0)
    network = encoder.network()
    frontend = Frontend(
        feature=encoder.feature, scale="none", segments=SegmentSettings(seconds=2.0, overlap=0)
    )
    segments = np.random.default_rng(0).normal(size=(2, *frontend.shape)).astype(np.float32)
    with torch.inference_mode():
        parts = [
            network(torch.from_numpy(segments[:, :, first : first + 96]))["fc1"].numpy()
            for first in (0, 96)
        ]
    each = np.stack(parts, axis=2)
    wanted = {
        "none": each,
        "mean": each.mean(axis=2, keepdims=True),
        "mean_std_max": np.concatenate(
            [each.mean(axis=2), each.std(axis=2), each.max(axis=2)], axis=1
        )[:, :, None],
    }
    for pool, values in wanted.items():
        settings = EmbeddingSettings(
            kind="embedding", encoder="vggish", layer="fc1", pool=pool, untrained=0
        )
        embedder = Embedder(settings, frontend)
        assert embedder.shape == values.shape[1:]
        found = ort.InferenceSession(embedder.graph).run(None, {"segments": segments})[0]
        np.testing.assert_allclose(found, values, atol=1e-4 * np.abs(values).max())


def test_segments_shorter_than_the_encoders_are_refused() -> None:
    encoder = make_encoder("vggish", untrained=0)
    frontend = Frontend(feature=encoder.feature, segments=SegmentSettings(seconds=0.5, overlap=0))
    settings = EmbeddingSettings(kind="embedding", encoder="vggish", untrained=0)
    with pytest.raises(RecipeError, match=r"hears 0\.96 s at once.*0\.50 s are too short"):
        Embedder(settings, frontend)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("feature.encoder=ears", "no encoder 'ears'"),
        ("feature.pool=sum", "pool: Input should be 'none'"),
        ("feature.layer2=x", "layer2"),
        ("pool=[mean]", "pooled by its own setting"),
    ],
)
def test_wrong_embeddings_are_refused(tmp_path: Path, change: str, words: str) -> None:
    recipe = tmp_path / "embedded.yaml"
    recipe.write_text(EMBEDDED)
    with pytest.raises(RecipeError, match=words):
        load_recipe(f"{recipe}/dense", [change])


def _learned(model: torch.nn.Module) -> tuple[list[str], list[str]]:
    """Names of the encoder's weights that a step changes, and of those it leaves."""
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    groups = model.learning_rates(0.1)
    rest = [w for n, w in model.named_parameters() if w.requires_grad and "encoder" not in n]
    optimizer = torch.optim.SGD([{"params": rest, "lr": 0.1}, *groups], 0.1)
    model.train()
    logits, _ = model(torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0)))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    optimizer.step()
    same = {n: torch.equal(before[n], w) for n, w in model.named_parameters() if "encoder" in n}
    return [n for n, kept in same.items() if not kept], [n for n, kept in same.items() if kept]


def test_what_is_frozen_stays_and_the_rest_learns_more_slowly_to_the_front() -> None:
    changed, kept = _learned(make_model({**FINETUNED, "learning": 0}, shape=SHAPE, genres=2))
    assert not changed and kept
    model = make_model({**FINETUNED, "learning": 3, "slower": 0.5}, shape=SHAPE, genres=2)
    rates = [group["lr"] for group in model.learning_rates(0.1)]
    assert rates == pytest.approx([0.05, 0.025, 0.0125])
    changed, kept = _learned(model)
    assert changed and kept
    assert {name.split(".")[3] for name in changed} <= {"17", "18"}, "the hindmost parts alone"


def test_checkpointing_changes_memory_and_nothing_else() -> None:
    segments = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(1))
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        settings = {**FINETUNED, "dropout": 0.0, "checkpointing": checkpointing}
        model = make_model(settings, shape=SHAPE, genres=2).train()
        model(segments)[0].sum().backward()
        weights = [w for w in model.encoder.parameters() if w.requires_grad]
        gradients.append([w.grad.clone() for w in weights])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"encoder": "vggish"}, "hears 96 frames at once"),
        ({"layer": "deepest"}, "has no layer 'deepest'"),
        ({"slower": 0}, "slower must be above 0"),
        ({"encoder": "ears"}, "no encoder 'ears'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        make_model({**FINETUNED, **settings}, shape=SHAPE, genres=2)


@pytest.mark.shared
def test_photographs_help_to_hear(shared: Path) -> None:
    weights = shared / "weights/mobilenet-v2-imagenet/mobilenet_v2_imagenet_dequant_fp16.npz"
    trained, random = (
        make_model({**FINETUNED, **one}, shape=SHAPE, genres=2).encoder.state_dict()
        for one in ({"untrained": None, "weights": weights}, {})
    )
    assert any(not torch.equal(trained[name], random[name]) for name in trained)
