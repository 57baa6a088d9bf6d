"""Own genres on the default model's embedding, and what a model of one's own says of itself."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from numpy.typing import NDArray
from typer.testing import CliRunner

from clips import RATE, music
from genrescope.cli import app
from genrescope.errors import RecipeError
from genrescope.evaluation.model_card import model_card, pack
from genrescope.inference import Bundle, Classifier
from genrescope.training.recipe import load_recipe

pytestmark = pytest.mark.needs("train")

# As `genrescope` where torch can't be imported.
WITHOUT_TORCH = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "lightning"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from genrescope.cli import main
main()
"""


def rain(seconds: float, *, seed: int) -> NDArray[np.float64]:
    """Noise, which the default model does not take for music."""
    samples = np.random.default_rng(seed).standard_normal(int(seconds * RATE))
    return (0.05 + 0.01 * seed) * samples


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the recipe by the command line, without torch, on five tracks of each genre."""
    folder = tmp_path_factory.mktemp("own")
    for number in range(5):
        for genre, make in (("bassline", music), ("rain", rain)):
            (folder / "music" / genre).mkdir(parents=True, exist_ok=True)
            path = folder / "music" / genre / f"{number}.wav"
            soundfile.write(path, make(5.0, seed=number), RATE)
    command = [sys.executable, "-c", WITHOUT_TORCH, "train", "my-genres", "--data", "music"]
    done = subprocess.run(
        [*command, "--name", "bass-or-rain"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "bass-or-rain"


def invoke(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


class TestTheModel:
    def test_it_tells_the_genres_apart(self, run: Path) -> None:
        assert json.loads((run / "metrics.json").read_text())["accuracy"] == 1
        classifier = Classifier.load(run)
        assert classifier.genres == ["bassline", "rain"]
        music_file = run.parents[1] / "music" / "rain" / "0.wav"
        assert classifier.predict(music_file).genre == "rain"

    def test_its_embedding_is_the_default_models(self, run: Path) -> None:
        path = run.parents[1] / "music" / "bassline" / "0.wav"
        own, default = Classifier.load(run), Classifier.load("default")
        assert own.embed(path).tolist() == pytest.approx(default.embed(path).tolist(), abs=1e-5)

    def test_it_takes_for_music_what_it_was_trained_on(self, run: Path) -> None:
        rain = run.parents[1] / "music" / "rain" / "0.wav"
        assert Classifier.load("default").predict(rain).genre is None
        assert Bundle.load(run).manifest.music_detector is None

    def test_it_can_be_the_encoder_of_another(self, run: Path) -> None:
        recipe = load_recipe("my-genres", [f"feature.bundle={run}"])
        assert recipe.frontend == Bundle.load("default").manifest.frontend

    def test_segments_are_those_of_the_encoder(self) -> None:
        assert (
            load_recipe("my-genres").segments == Bundle.load("default").manifest.frontend.segments
        )
        with pytest.raises(RecipeError, match="the bundle's are"):
            load_recipe("my-genres", ["segments.seconds=5", "segments.overlap=0"])


class TestWhatItSays:
    def test_name_genres_data_and_model_are_of_the_run(self, run: Path) -> None:
        fields = json.loads(invoke("info", run, "--json"))
        assert fields["name"] == "bass-or-rain"
        assert fields["genres"] == ["bassline", "rain"]
        assert fields["data"]["name"] == "music"
        assert fields["data"]["tracks"] == fields["training_tracks_listed"] - 850 == 10
        assert fields["description"] == "2 genres, 10 tracks of music; one model (LR)"
        assert fields["figures"]["command"].endswith("--data music --name bass-or-rain")
        assert fields["provenance"]["encoder"]["data"]["name"] == "GTZAN"
        assert "GTZAN" not in json.dumps(fields["provenance"]["recipe"])

    def test_the_table_says_the_same(self, run: Path) -> None:
        text = invoke("info", run)
        assert "genres: bassline, rain\n" in text
        assert "trained on: music, 10 tracks, 0 with a known artist\n" in text
        assert "on the embedding of: default, trained on GTZAN\n" in text
        assert "accuracy: 100.0 %" in text
        assert "measured on: 10 tracks; 5 folds by track" in text

    def test_the_licence_names_that_of_the_weights_inside(self, run: Path) -> None:
        expected = "not stated; weights that are part of it: Apache-2.0"
        assert Bundle.load(run).manifest.licence == expected

    def test_a_packed_model_is_used_as_it_is(self, run: Path, tmp_path: Path) -> None:
        out = tmp_path / "model.zip"
        invoke("pack", run, "--out", out)
        path = run.parents[1] / "music" / "rain" / "1.wav"
        packed, own = Classifier.load(out), Classifier.load(run)
        assert packed.predict(path).probabilities == own.predict(path).probabilities
        first = out.read_bytes()
        invoke("pack", out, "--out", out, "--overwrite")
        assert out.read_bytes() == first

    def test_the_card_has_front_matter_and_the_figures(self, run: Path, tmp_path: Path) -> None:
        pack(Bundle.load(run), tmp_path / "model.zip")
        card = zipfile.ZipFile(tmp_path / "model.zip").read("README.md").decode()
        _, front, text = card.split("---\n", 2)
        fields = yaml.safe_load(front)
        assert (fields["license"], fields["license_name"][:10]) == ("other", "not stated")
        assert fields["pipeline_tag"] == "audio-classification"
        metric = fields["model-index"][0]["results"][0]["metrics"][0]
        assert metric == {"type": "accuracy", "name": "accuracy", "value": 1.0}
        assert "bassline, rain" in text
        assert "| accuracy | 100.0 % |" in text

    def test_a_card_of_a_model_without_figures_says_so(self, run: Path) -> None:
        bundle = Bundle.load(run)
        manifest = bundle.manifest.model_copy(update={"metrics": {}, "licence": "My own terms"})
        card = model_card(Bundle(manifest, bundle.model))
        assert "None were measured." in card
        assert "license: other\nlicense_name: My own terms\n" in card

    @pytest.mark.parametrize("name", ["model.tar", "there.zip"])
    def test_what_is_there_is_not_replaced(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "there.zip").write_bytes(b"mine")
        result = CliRunner().invoke(app, ["pack", "default", "--out", str(tmp_path / name)])
        assert result.exit_code != 0
        assert (tmp_path / "there.zip").read_bytes() == b"mine"
        assert not (tmp_path / "model.tar").exists()


def test_a_model_that_contains_other_weights_names_their_licence() -> None:
    from genrescope.training.bundles import licence_of

    within = "weights that are part of it"
    assert licence_of(load_recipe("my-genres", ["licence=MIT"])) == f"MIT; {within}: Apache-2.0"
    mert = load_recipe("encoder-heads/mert/dense")
    assert licence_of(mert) == f"not stated; {within}: CC-BY-NC-4.0"
    assert licence_of(load_recipe("default")) == "Apache-2.0"
    assert licence_of(load_recipe("kth-table3/mlp/mfcc")) == "not stated"


def test_a_family_has_no_single_name() -> None:
    result = CliRunner().invoke(app, ["train", "kth-table4", "--name", "x", "--data", "y"])
    assert "a family of 4 recipes" in str(result.exception)
