"""Gradual unfreezing: which parts are trained when, and that a resumed training is the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs genrescope[train]")

import torch

from clips import write_spectrograms
from genrescope.datasets import scan
from genrescope.errors import RecipeError
from genrescope.inference import Bundle
from genrescope.models import make_model
from genrescope.training.recipe import load_recipe
from genrescope.training.reporter import DefaultReporter
from genrescope.training.run import execute

MODEL = {"kind": "finetuned", "encoder": "efficientat", "weights_seed": 0, "hidden": [4]}
SHAPE = (128, 1000)
# Random weights of a small network, whose last two parts are unfrozen one after the other.
RECIPE = """
extends: _leiden
name: unfreezing
feature: {n_mels: 32}
segments: {seconds: 14, overlap: 0.5}
model: {encoder: mobilenet_v2, weights_seed: 0, hidden: [8], trained_modules: 2, unfreeze: 1,
  checkpointing: true}
training: {epochs: 4, batch_size: 2, accumulate: 2, keep: best, precision: fp32}
published: null
"""


def learning(model: torch.nn.Module) -> list[bool]:
    """Of each part, from the last, whether it is trained."""
    return [next(p.parameters(recurse=False)).requires_grad for p in reversed(model.parts)]


def test_one_part_after_the_other_from_the_back() -> None:
    model = make_model({**MODEL, "trained_modules": 3, "unfreeze": 2}, shape=SHAPE, genres=2)
    parts = len(model.parts)
    seen = []
    for epoch in range(9):
        model.at_epoch(epoch)
        seen.append(sum(learning(model)))
        assert learning(model) == [True] * seen[-1] + [False] * (parts - seen[-1])
    assert seen == [0, 0, 1, 1, 2, 2, 3, 3, 3]
    assert all(weight.requires_grad for weight in model.head.parameters())
    at_once = make_model({**MODEL, "trained_modules": 3}, shape=SHAPE, genres=2)
    assert sum(learning(at_once)) == 3
    with pytest.raises(RecipeError, match="unfreeze must be a number of epochs, not -1"):
        make_model({**MODEL, "unfreeze": -1}, shape=SHAPE, genres=2)


def test_the_optimizer_has_all_parts_and_moves_the_unfrozen() -> None:
    settings = {**MODEL, "trained_modules": 2, "unfreeze": 1, "layer_decay": 0.5}
    model = make_model(settings, shape=SHAPE, genres=2).train()
    groups = model.learning_rates(0.1)
    assert [group["lr"] for group in groups] == pytest.approx([0.05, 0.025])
    optimizer = torch.optim.AdamW(groups, weight_decay=0.5)
    segments, genres = torch.randn(2, *SHAPE), torch.tensor([0, 1])
    for epoch in range(3):
        model.at_epoch(epoch)
        before = [group["params"][0].clone() for group in groups]
        optimizer.zero_grad()
        layer = model.encoder(segments)["logits"]  # after the last two parts
        torch.nn.functional.cross_entropy(layer + model(segments)[0].sum(), genres).backward()
        optimizer.step()
        moved = [not torch.equal(b, g["params"][0]) for b, g in zip(before, groups, strict=True)]
        assert moved == [epoch > 0, epoch > 1], "not even the decay of weights moves the frozen"


class _Stop(DefaultReporter):
    def epoch(self, part, epoch, epochs, loss, accuracy) -> None:
        if epoch == 2:
            raise KeyboardInterrupt


def test_a_killed_training_ends_bit_for_bit_as_an_uninterrupted_one(tmp_path: Path) -> None:
    data = scan(write_spectrograms(tmp_path / "data", tracks=3))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    execute(recipe, data, tmp_path / "whole")
    # The training stops before the epoch in which the last part is unfrozen.
    with pytest.raises(KeyboardInterrupt):
        execute(recipe, data, tmp_path / "stopped", reporter=_Stop())
    execute(recipe, data, tmp_path / "stopped")
    runs = [tmp_path / "whole", tmp_path / "stopped"]
    notes = [json.loads((run / "jobs/only/training.json").read_text()) for run in runs]
    assert notes[0]["history"] == notes[1]["history"]
    assert len({Bundle.load(run).manifest.sha256 for run in runs}) == 1
    # Unfreezing all parts at once is another training.
    at_once = load_recipe(tmp_path / "recipe.yaml", ["model.unfreeze=0"])
    execute(at_once, data, tmp_path / "at-once")
    other = json.loads((tmp_path / "at-once/jobs/only/training.json").read_text())
    assert [e["loss"] for e in other["history"]] != [e["loss"] for e in notes[0]["history"]]


def test_checkpointing_in_parts_gives_the_same_gradients() -> None:
    segments, genres = torch.randn(11, 128, 200), torch.arange(11) % 2
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        settings = {
            "kind": "finetuned",
            "encoder": "mobilenet_v2",
            "weights_seed": 0,
            "hidden": [4],
        }
        settings |= {"dropout": 0, "checkpointing": checkpointing, "trained_modules": 3}
        model = make_model(settings, shape=(128, 200), genres=2).train()
        torch.nn.functional.cross_entropy(model(segments)[0], genres).backward()
        gradients.append([w.grad for w in model.parameters() if w.requires_grad])
    assert len(gradients[0]) > 6
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
