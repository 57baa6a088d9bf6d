"""A package that is installed next to Genrescope adds a feature, a model and an encoder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clips import write_wav

pytest.importorskip("lightning", reason="training needs the extra train")

PACKAGE = '''
"""A feature, a model and an encoder of one's own."""

import numpy as np
from torch import nn

from genrescope.encoders import Encoder
from genrescope.features import SpectrogramFeature


class Loudness(SpectrogramFeature):
    """The power of a frame in decibels."""

    @property
    def size(self):
        return 1

    def of_spectrogram(self, spectrogram):
        return (10 * np.log10(spectrogram.power.sum(axis=0, keepdims=True) + 1e-6)).astype("f")


class Line(nn.Module):
    """One linear layer."""

    def __init__(self, shape, genres):
        super().__init__()
        self.output = nn.Linear(shape[0] * shape[1], genres)
        self.embedding_size = shape[0] * shape[1]

    def forward(self, segments):
        return self.output(segments.flatten(1)), segments.flatten(1)


class Network(nn.Module):
    """Mean and maximum over time."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(nn.init.ones_(nn.Parameter().new_empty(64)))

    def forward(self, segments):
        return {"mean": segments.mean(2) * self.scale, "max": segments.amax(2) * self.scale}


class Bands(Encoder):
    """Statistics of VGGish's mel bands as an encoder."""

    name = "bands"
    layers = {"mean": 64, "max": 64}
    default_layer = "mean"
    weights = ()
    feature = {"kind": "vggish_mel"}
    seconds = 0.96
    step = 0.96

    def build(self):
        return Network()

    def load(self, network):
        pass
'''
ENTRIES = """
[genrescope.features]
loudness = listening_kit:Loudness
[genrescope.models]
line = listening_kit:Line
[genrescope.encoders]
bands = listening_kit:Bands
"""
RECIPES = {
    "loud": """
name: loud
feature: {kind: loudness}
scale: track
segments: {seconds: 2, overlap: 0}
model: {kind: line}
training: {epochs: 1, batch_size: 4}
split: {kind: official}
""",
    "banded": """
name: banded
feature: {kind: embedding, encoder: bands, layer: max, weights_seed: 0}
segments: {seconds: 2, overlap: 0}
model: {kind: mlp, hidden: [4]}
training: {epochs: 1, batch_size: 4}
split: {kind: official}
""",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for `sys.path` that holds the package as an installer would leave it."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "listening_kit.py").write_text(PACKAGE)
    info = folder / "listening_kit-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: listening-kit\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    return folder


def run(site: Path, folder: Path, *words: str) -> str:
    source = Path(__file__).resolve().parents[1] / "src"
    paths = os.pathsep.join([str(source), str(site)])
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths, "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_a_recipe_uses_what_the_package_adds(site: Path, tmp_path: Path, recipe: str) -> None:
    rows = ["path,genre,split"]
    for number in range(12):
        genre = ("low", "high")[number % 2]
        path = write_wav(tmp_path / f"{number}.wav", 3, seed=number)
        split = ("train", "train", "validation", "test")[number // 2 % 4]
        rows.append(f"{path.name},{genre},{split}")
    (tmp_path / "tracks.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "own.yaml").write_text(RECIPES[recipe])
    run(site, tmp_path, "-m", "genrescope", "train", "own.yaml", "--data", "tracks.csv")
    bundle = tmp_path / "runs" / recipe / "bundle"
    kind = json.loads((bundle / "bundle.json").read_text())["frontend"]["feature"]["kind"]
    assert kind == {"loud": "loudness", "banded": "vggish_mel"}[recipe]
    found = run(
        site,
        tmp_path,
        "-m",
        "genrescope",
        "classify",
        "0.wav",
        "-m",
        f"runs/{recipe}",
        "-f",
        "json",
    )
    assert '"low"' in found


def test_what_is_not_there_is_named_with_what_is_near(site: Path, tmp_path: Path) -> None:
    code = """
from genrescope.encoders import encoder_kinds, make_encoder
from genrescope.errors import RecipeError
from genrescope.features import make_feature
from genrescope.models import make_model, trainer_of
assert "bands" in encoder_kinds()
assert trainer_of({"kind": "line"}) == "torch"
assert trainer_of({"kind": "classical"}) == "sklearn"
for make in (
    lambda: make_feature({"kind": "loudnes"}),
    lambda: make_model({"kind": "lines"}, shape=(1, 1), genres=2),
    lambda: make_encoder("band"),
):
    try:
        make()
    except RecipeError as error:
        print(error)
"""
    lines = run(site, tmp_path, "-c", code).splitlines()
    for line, noun, near in zip(
        lines, ("feature", "model", "encoder"), ("loudness", "line", "bands"), strict=True
    ):
        assert line.startswith(f"no {noun} ")
        assert f"(did you mean {near!r}?); there are: " in line
