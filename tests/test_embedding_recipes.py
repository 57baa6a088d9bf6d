"""Recipes with pretrained networks: embeddings with a head, and fine-tuned networks."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="needs genrescope[train]")

import torch

from clips import write_spectrograms
from genrescope.datasets import scan
from genrescope.encoders import make_encoder
from genrescope.encoders.graph import to_onnx
from genrescope.errors import RecipeError
from genrescope.features import Frontend, SegmentSettings
from genrescope.inference import Bundle, Classifier, Manifest
from genrescope.models import make_model
from genrescope.training.bundles import make_bundle
from genrescope.training.convert import convert
from genrescope.training.embeddings import Embedder
from genrescope.training.graphs import join_graphs
from genrescope.training.pretrained import pretrained_embedder
from genrescope.training.recipe import load_recipe
from genrescope.training.run import execute
from genrescope.training.settings import EmbeddingSettings

FloatArray = NDArray[np.float32]

# Random weights of a small network, which is enough for what is tested.
EMBEDDED = """
extends: _paper
name: embedded
feature: {kind: embedding, encoder: mobilenet_v2, layer: immediate, weights_seed: 0}
segments: {seconds: 14, overlap: 0.5}
training: {epochs: 3, batch_size: 4, learning_rate: 0.01}
variants:
  model:
    dense: {model: {kind: mlp, hidden: [16, 8]}}
    svc: {model: {kind: classical, name: LR}}
"""
LEARNING = """
extends: _leiden
name: learning
feature: {n_mels: 64}
segments: {seconds: 14, overlap: 0.5}
model: {encoder: mobilenet_v2, weights_seed: 0, hidden: [16, 8], trained_modules: 1}
training: {epochs: 1, batch_size: 4}
published: null
"""
SHAPE = (128, 40)
FINETUNED = {"kind": "finetuned", "encoder": "mobilenet_v2", "weights_seed": 0, "hidden": [8]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spectrograms(tmp_path_factory.mktemp("data"), tracks=5)


@pytest.fixture(scope="module")
def frozen(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders by the head on top of a frozen encoder."""
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "embedded.yaml").write_text(EMBEDDED)
    for head in ("dense", "svc"):
        recipe = load_recipe(f"{folder / 'embedded.yaml'}/{head}")
        execute(recipe, scan(data), folder / head)
    return {head: folder / head for head in ("dense", "svc")}


@pytest.mark.parametrize("head", ["dense", "svc"])
def test_an_encoder_and_a_head_become_one_bundle(
    data: Path, frozen: dict[str, Path], head: str
) -> None:
    run = frozen[head]
    classifier = Classifier.load(run)
    assert classifier.manifest.frontend.computed.kind == "image"
    assert "torch" not in {node.domain for node in _nodes(Bundle.load(run).model)}
    rows = list(csv.DictReader((run / "predictions.csv").open()))
    assert rows
    for row in rows:
        prediction = classifier.predict(data / row["genre"] / f"{row['track']}.png")
        assert prediction.genre == row["predicted"]
        assert prediction.confidence == pytest.approx(float(row["confidence"]), abs=1e-3)
        assert len(prediction.timeline) > 1, "several segments a track"
    assert json.loads((run / "metrics.json").read_text())["n"] == len(rows)


def test_a_fine_tuned_network_gives_its_four_layers(data: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "learning.yaml"
    recipe.write_text(LEARNING)
    run = tmp_path / "run"
    execute(load_recipe(recipe), scan(data), run)
    classifier = Classifier.load(run)
    sizes = {"none": 224 * 224, "immediate": 1280, "deep": 16, "shallow": 8}
    assert classifier.layers == {"embedding": 8, **sizes}
    track = data / "low" / "low.00000.png"
    depths = classifier.embed_layers(track, list(classifier.layers))
    assert {name: values.shape for name, values in depths.items()} == {
        name: (size,) for name, size in classifier.layers.items()
    }
    np.testing.assert_allclose(depths["embedding"], classifier.predict(track).embedding, rtol=1e-6)
    np.testing.assert_array_equal(depths["embedding"], depths["shallow"])
    for layer, values in depths.items():
        np.testing.assert_array_equal(values, classifier.embed(track, layer=layer))
    other = classifier.embed(data / "high" / "high.00000.png", layer="none")
    assert np.abs(other - depths["none"]).max() > 0.1, "another picture"
    with pytest.raises(ValueError, match="no layer 'middle'; there are: embedding, none"):
        classifier.embed(track, layer="middle")


def test_a_frozen_encoder_gives_its_four_layers(data: Path, frozen: dict[str, Path]) -> None:
    classifier = Classifier.load(frozen["dense"])
    sizes = {"embedding": 8, "none": 224 * 224, "immediate": 1280, "deep": 16, "shallow": 8}
    assert classifier.layers == sizes
    assert list(classifier.layers) == list(sizes)
    track = data / "low" / "low.00000.png"
    depths = {layer: classifier.embed(track, layer=layer) for layer in classifier.layers}
    np.testing.assert_array_equal(depths["embedding"], depths["shallow"])
    np.testing.assert_allclose(depths["embedding"], classifier.predict(track).embedding, rtol=1e-6)
    frontend = classifier.manifest.frontend
    segments = [s.values for w in frontend.windows(track) for s in frontend.segments_of(w)]
    with torch.inference_mode():
        network = make_encoder("mobilenet_v2", weights_seed=0).network()
        found = network(torch.from_numpy(np.stack(segments)))
    for layer in ("none", "immediate"):
        expected = found[layer].mean(dim=0).numpy()
        np.testing.assert_allclose(depths[layer], expected, atol=1e-4 * np.abs(expected).max())
    assert depths["deep"].min() >= 0 < depths["deep"].max()
    # A classifier has no layers of its own.
    svc = {"embedding": 1280, "none": 224 * 224, "immediate": 1280}
    assert Classifier.load(frozen["svc"]).layers == svc


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_layers_are_kept_by_a_conversion(
    data: Path, frozen: dict[str, Path], precision: Literal["fp16", "int8"]
) -> None:
    bundle = _unscaled(Bundle.load(frozen["dense"]))
    whole, smaller = Classifier(bundle), Classifier(convert(bundle, precision)[0])
    assert smaller.layers == whole.layers
    track = data / "low" / "low.00000.png"
    expected, found = (one.embed_layers(track, list(whole.layers)) for one in (whole, smaller))
    for layer, values in expected.items():
        assert np.corrcoef(values, found[layer])[0, 1] > 0.99, layer
    assert not np.array_equal(expected["deep"], found["deep"]), "its weights were rounded"


def _unscaled(bundle: Bundle) -> Bundle:
    """The bundle, its head before embeddings that are not standardised.

    Random weights tell tracks apart by less than the steps of int8: a head that stretches that
    little to a deviation of 1 would see the steps alone.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(bundle.model)
    expected = {"head/network.mean": 0, "head/network.deviation": 1}
    scaling = [tensor for tensor in model.graph.initializer if tensor.name in expected]
    assert len(scaling) == 2
    for tensor in scaling:
        values = np.full(tensor.dims, expected[tensor.name], np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    fields = {field: getattr(bundle.manifest, field) for field in Manifest.model_fields}
    return make_bundle(model.SerializeToString(), **fields)


@pytest.fixture(scope="module")
def embedders() -> dict[str, Embedder]:
    """One encoder, two of its segments in each of a recipe's, by how they are pooled."""
    encoder = make_encoder("musicnn", weights_seed=0)
    frontend = Frontend(
        feature=encoder.feature, scale="none", segments=SegmentSettings(seconds=4.0, overlap=0)
    )
    fields = {"kind": "embedding", "encoder": "musicnn", "layer": "taggram", "weights_seed": 0}
    return {
        pool: pretrained_embedder(
            EmbeddingSettings.model_validate({**fields, "pool": pool}), frontend
        )
        for pool in ("none", "mean", "mean_std_max")
    }


def _noise(embedder: Embedder) -> FloatArray:
    shape = (2, *embedder.frontend.shape)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("pool", ["none", "mean", "mean_std_max"])
def test_a_joined_graph_gives_each_layer_as_torch_does(
    embedders: dict[str, Embedder], pool: str
) -> None:
    embedder = embedders[pool]
    torch.manual_seed(0)
    head = make_model({"kind": "mlp", "hidden": [6, 5, 4]}, shape=embedder.shape, genres=3).eval()
    names = ("logits", "embedding", "deep", "shallow")
    graph = join_graphs(embedder.graph, to_onnx(_All(head), embedder.shape, names))
    session = ort.InferenceSession(graph)
    order = [output.name for output in session.get_outputs()]
    assert order == ["logits", "embedding", "immediate", "deep", "shallow"]
    results = session.run(None, {"segments": _noise(embedder)})
    found = dict(zip(order, results, strict=True))
    with torch.inference_mode():
        steps = [torch.from_numpy(found["immediate"])]
        for layer in head.hidden[1]:
            steps.append(layer(steps[-1]))
        expected = {"deep": steps[2], "shallow": steps[-1], "logits": head.output(steps[-1])}
    seen = embedder.shape[0] * embedder.shape[1]
    assert [found[name].shape for name in order] == [(2, n) for n in (3, 4, seen, 6, 4)]
    np.testing.assert_array_equal(found["embedding"], found["shallow"])
    for name, values in expected.items():
        assert np.abs(found[name]).max() > 0
        np.testing.assert_allclose(found[name], values, atol=1e-6)


class _All(torch.nn.Sequential):
    """A network with all that it names."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__(network)

    def forward(self, segments: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (*self[0].outputs(segments).values(),)


def test_a_network_without_named_outputs_gives_one_embedding(data: Path, tmp_path: Path) -> None:
    changes = ["training.epochs=1", "model.channels=[4, 6]", "segments.seconds=14"]
    run = tmp_path / "run"
    execute(load_recipe("leiden-scratch/30s-clean", changes), scan(data), run)
    assert Classifier.load(run).layers == {"embedding": 6}


def _nodes(model: bytes) -> list:
    import onnx

    return list(onnx.load_from_string(model).graph.node)


def test_the_graph_cuts_and_pools_as_numpy_does(embedders: dict[str, Embedder]) -> None:
    network, segments = make_encoder("musicnn", weights_seed=0).network(), _noise(embedders["none"])
    with torch.inference_mode():
        parts = [
            network.cpu()(torch.from_numpy(segments[:, :, first : first + 187]))["taggram"].numpy()
            for first in (0, 61)
        ]
    each = np.stack(parts, axis=2)
    expected = {
        "none": each,
        "mean": each.mean(axis=2, keepdims=True),
        "mean_std_max": np.concatenate(
            [each.mean(axis=2), each.std(axis=2), each.max(axis=2)], axis=1
        )[:, :, None],
    }
    for pool, values in expected.items():
        assert embedders[pool].shape == values.shape[1:]
        run = ort.InferenceSession(embedders[pool].graph).run
        found, immediate = run(["vectors", "immediate"], {"segments": segments})
        np.testing.assert_allclose(found, values, atol=1e-4 * np.abs(values).max())
        np.testing.assert_array_equal(immediate, found.reshape(2, -1))


def test_segments_shorter_than_the_encoders_are_refused() -> None:
    encoder = make_encoder("vggish", weights_seed=0)
    frontend = Frontend(feature=encoder.feature, segments=SegmentSettings(seconds=0.5, overlap=0))
    settings = EmbeddingSettings(kind="embedding", encoder="vggish", weights_seed=0)
    with pytest.raises(RecipeError, match=r"takes segments of 0\.96 s.*0\.50 s, are too short"):
        pretrained_embedder(settings, frontend)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("feature.encoder=nothing", "no encoder 'nothing'"),
        ("feature.pool=sum", "pool: Input should be 'none'"),
        ("feature.layer2=x", "layer2"),
        ("pool=[mean]", "pooled by its own setting"),
        ("augmentation.gain=1", "embeddings have no augmentation"),
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


def test_frozen_weights_stay_and_learning_rates_fall_to_the_front() -> None:
    changed, kept = _learned(make_model({**FINETUNED, "trained_modules": 0}, shape=SHAPE, genres=2))
    assert not changed and kept
    model = make_model(
        {**FINETUNED, "trained_modules": 3, "layer_decay": 0.5}, shape=SHAPE, genres=2
    )
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
        ({"encoder": "vggish"}, "takes segments of 96 frames"),
        ({"layer": "deepest"}, "has no layer 'deepest'"),
        ({"layer_decay": 0}, "layer_decay must be above 0"),
        ({"encoder": "nothing"}, "no encoder 'nothing'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        make_model({**FINETUNED, **settings}, shape=SHAPE, genres=2)


@pytest.mark.shared
def test_published_weights_are_loaded(shared: Path) -> None:
    weights = shared / "weights/mobilenet-v2-imagenet/mobilenet_v2_imagenet_dequant_fp16.npz"
    trained, random = (
        make_model({**FINETUNED, **one}, shape=SHAPE, genres=2).encoder.state_dict()
        for one in ({"weights_seed": None, "weights": weights}, {})
    )
    assert any(not torch.equal(trained[name], random[name]) for name in trained)
