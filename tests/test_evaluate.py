"""Evaluation of a model on other data: genres mapped, and a folder that reads like a run's."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer import Typer
from typer.testing import CliRunner, Result

import genrescope
from clips import write_wav
from genrescope.cli.evaluate import evaluate
from genrescope.datasets import read_dataset
from genrescope.errors import DatasetError, FileError
from genrescope.evaluation.evaluate import evaluate as evaluate_model
from genrescope.evaluation.run_result import RunResult
from genrescope.inference import Classifier

app = Typer()
app.command()(evaluate)


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "other"
    for number, genre in enumerate(("Hip-Hop", "rock", "polka")):
        (folder / genre).mkdir(parents=True)
        for i in range(2):
            write_wav(folder / genre / f"{genre} {i}.wav", 3, seed=i, pitch=110.0 * (number + 1))
    (folder / "rock" / "broken.wav").write_bytes(b"RIFF")
    return folder


@pytest.mark.needs("train")
def test_other_data_get_a_folder_that_reads_like_a_runs(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    done = run(
        "default", "--data", data, "--genre-map", "Hip-Hop=hiphop", "--out", out, "-f", "json"
    )
    assert done.exit_code == 1, "one file could not be decoded"
    metrics, printed = json.loads((out / "metrics.json").read_text()), json.loads(done.stdout)
    assert metrics["n"] == 4
    assert set(metrics["by_genre"]) == {"hiphop", "rock"}
    assert metrics["genre_map"] == {"Hip-Hop": "hiphop"}
    assert [Path(f["track"]).name for f in metrics["left_out"]] == ["broken.wav"]
    assert metrics["unknown_genres"] == ["polka"]
    assert metrics == printed
    result = RunResult.read(out)
    assert result.kind == "evaluation" and result.data.name == "other" and result.data.tracks == 7
    with (out / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["track"] for row in rows) == ["Hip-Hop 0", "Hip-Hop 1", "rock 0", "rock 1"]
    correct = sum(row["genre"] == row["predicted"] for row in rows)
    assert metrics["accuracy"] == correct / 4, "over all genres that the model may predict"
    pictures = {"confusion.png", "reliability.png", "report.html", "report.md"}
    assert {p.name for p in out.iterdir()} == {"metrics.json", "predictions.csv", *pictures}
    page = (out / "report.md").read_text()
    assert page.startswith("# default on other\n")
    assert "Hip-Hop as hiphop" in page
    assert str(data) not in page.split("## Left out")[0]


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("Hip-Hop", "expected THEIRS=OURS"),
        ("=rock", "expected THEIRS=OURS"),
        ("Hip-Hop=hip", "hip"),
        ("ska=rock", "ska"),
    ],
)
def test_a_map_of_unknown_genres_is_refused(data: Path, pair: str, words: str) -> None:
    done = run("default", "--data", data, "--genre-map", pair)
    assert isinstance(done.exception, DatasetError)
    assert words in str(done.exception)


def test_a_runs_own_figures_are_not_overwritten(data: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("recipe: {}\n")
    done = run("default", "--data", data, "--out", tmp_path)
    assert isinstance(done.exception, FileError)
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.yaml"]


def test_one_genre_alone_has_no_roc_curve(data: Path, tmp_path: Path) -> None:
    (tmp_path / "d" / "rock").mkdir(parents=True)
    write_wav(tmp_path / "d" / "rock" / "a.wav", 3)
    done = run("default", "--data", tmp_path / "d", "-f", "json")
    assert json.loads(done.stdout)["roc_auc"] is None
    assert "NaN" not in done.stdout
    table = run("default", "--data", tmp_path / "d").stdout
    assert next(line for line in table.splitlines() if "ROC-AUC" in line).count("–") == 2


def test_python_gives_what_the_command_prints(data: Path) -> None:
    steps: list[tuple[int, int]] = []
    result = evaluate_model(
        Classifier.load("default"),
        read_dataset(data),
        genre_map={"Hip-Hop": "hiphop"},
        progress=lambda done, total: steps.append((done, total)),
    )
    done = run("default", "--data", data, "--genre-map", "Hip-Hop=hiphop", "-f", "json")
    printed, fields = json.loads(done.stdout), result.to_dict()
    command = "genrescope evaluate default --data other --genre-map Hip-Hop=hiphop"
    assert (printed.pop("command"), fields.pop("command")) == (command, "")
    assert fields == printed
    assert steps == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    assert result.folder is None


def test_nothing_that_can_be_decoded(tmp_path: Path) -> None:
    (tmp_path / "d" / "rock").mkdir(parents=True)
    (tmp_path / "d" / "rock" / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(DatasetError, match="d: of 1 track, none could be decoded"):
        evaluate_model("default", tmp_path / "d", folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_silence_is_left_out_and_noise_counts_as_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "d" / "rock"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).normal(0, 0.1, 5 * 22050).clip(-1, 1)
    soundfile.write(folder / "noise.wav", noise, 22050)
    soundfile.write(folder / "silence.wav", np.zeros(5 * 22050), 22050)
    result = evaluate_model("default", tmp_path / "d")
    assert (result.n, result.accuracy) == (1, 0)
    assert [Path(str(left.track)).name for left in result.left_out] == ["silence.wav"]


def test_the_public_names(data: Path, tmp_path: Path) -> None:
    for name, jobs in (("a", 1), ("b", 2)):
        found = genrescope.evaluate(
            "default", data, genre_map={"Hip-Hop": "hiphop"}, jobs=jobs, folder=tmp_path / name
        )
        assert genrescope.RunResult.read(tmp_path / name).to_dict() | {"command": ""} == (
            found.to_dict()
        )
    comparison = genrescope.compare(tmp_path / "a", tmp_path / "b")
    assert (comparison.n, comparison.difference) == (4, 0), "the number of jobs changes nothing"
