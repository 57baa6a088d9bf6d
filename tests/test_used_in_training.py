"""Every command that shows scores or embeddings says how much of the music is training music."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner

from clips import RATE, write_song, write_spectrograms
from genrescope.cli.classify import classify
from genrescope.cli.evaluate import evaluate as evaluate_command
from genrescope.cli.map import map_library
from genrescope.cli.scan import scan
from genrescope.datasets import read_dataset
from genrescope.datasets.fingerprints import TrainingTracks
from genrescope.evaluation.evaluate import evaluate
from genrescope.evaluation.geometry_tracks import TRAINING, UNKNOWN, UNUSED, compute_geometry
from genrescope.inference.bundle import Bundle


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two genres of two clips each."""
    folder = tmp_path_factory.mktemp("music")
    for number, name in enumerate(("jazz/a", "jazz/b", "rock/c", "rock/d")):
        (folder / name).parent.mkdir(exist_ok=True)
        write_song(folder / f"{name}.wav", 9.0, seed=number)
    return folder


@pytest.fixture(scope="module")
def model(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model, as if it had been trained on the first three of them."""
    folder = tmp_path_factory.mktemp("model")
    bundle = Bundle.load("default")
    tracks = read_dataset(music).tracks[:3]
    fields = TrainingTracks.of("other name", tracks).to_fields()
    # Made-up songs are no music to the shipped model, and the map shows what has a genre.
    changes = {"training_tracks": fields, "music_detector": None}
    manifest = bundle.manifest.model_copy(update=changes)
    replace(bundle, manifest=manifest).save(folder)
    return folder


def run(command: object, *arguments: str | Path):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


def test_evaluate_counts_and_marks_them(music: Path, model: Path, tmp_path: Path) -> None:
    result = evaluate(model, music, folder=tmp_path / "out")
    assert result.tracks_used_in_training == 3
    assert result.tested_on_training_data
    assert result.comparable_row is None
    assert result.protocol == "all tracks, 3 of 4 tracks were used in training"
    stored = json.loads((tmp_path / "out/metrics.json").read_text("utf-8"))
    assert stored["tracks_used_in_training"] == 3
    page = (tmp_path / "out/report.md").read_text("utf-8")
    assert "TRAINED ON THESE TRACKS. 3 of 4 tracks were used in training" in page
    assert page.startswith("# default on music") and "(trained on these tracks)" in page[:80]


def test_other_music_is_not_marked(model: Path, tmp_path: Path) -> None:
    (tmp_path / "rock").mkdir()
    write_song(tmp_path / "rock/a.wav", 9.0, seed=9)
    result = evaluate(model, tmp_path, folder=tmp_path / "out")
    assert (result.tracks_used_in_training, result.tested_on_training_data) == (0, False)
    assert "TRAINED" not in (tmp_path / "out/report.md").read_text("utf-8")


def test_a_bundle_without_the_list_goes_by_the_name_of_the_data(
    music: Path, tmp_path: Path
) -> None:
    bundle = Bundle.load("default")
    manifest = bundle.manifest.model_copy(update={"training_tracks": None})
    replace(bundle, manifest=manifest).save(tmp_path)
    result = evaluate(tmp_path, music)
    assert (result.tracks_used_in_training, result.tested_on_training_data) == (None, False)


def test_evaluate_prints_it_first(music: Path, model: Path) -> None:
    done = run(evaluate_command, model, "--data", music)
    assert "3 of 4 tracks were used in training" in done.stdout.splitlines()[0]
    fields = json.loads(run(evaluate_command, model, "--data", music, "-f", "json").stdout)
    assert fields["tracks_used_in_training"] == 3


def test_classify_names_them_when_asked(music: Path, model: Path) -> None:
    done = run(classify, music, "--model", model, "--verbose")
    assert "3 of 4 tracks were used in training: " in done.stderr
    assert str(music / "jazz/a.wav") in done.stderr
    assert "training" not in run(classify, music, "--model", model).stderr
    assert (
        "of 1 file, none was used" in run(classify, music / "rock/d.wav", "-m", model, "-v").stderr
    )


def test_geometry_makes_them_a_subset_of_their_own(music: Path, model: Path) -> None:
    found, _ = compute_geometry(model, read_dataset(music), maps=False)
    assert found.subsets == {UNUSED: 1, TRAINING: 3}
    assert found.alarms[0].startswith("3 of 4 tracks were used in training: ")


def test_map_counts_them(music: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("lancedb", reason="a library needs the extra library")
    library = tmp_path / "library"
    assert run(scan, music, "--library", library, "--model", model).exit_code == 0
    words = ("-l", library, "-o", tmp_path / "map.html", "--method", "pca", "-f", "json")
    done = run(map_library, *words)
    assert json.loads(done.stdout)["used_in_training"] == 3
    assert "3 of 4 tracks were used in training" in done.stderr


@pytest.mark.parametrize(("split", "used"), [("random", 16), ("folds", 20), ("by_segment", 20)])
def test_training_lists_the_tracks_in_the_bundle(tmp_path: Path, split: str, used: int) -> None:
    pytest.importorskip("torch", reason="training needs the extra train")
    pytest.importorskip("lightning", reason="training needs the extra train")
    from genrescope.training.recipe import load_recipe
    from genrescope.training.run import execute

    settings = [
        *("training.epochs=1", "model.channels=[4]", "ensemble=[]", "split.by_artist=false"),
        *(f"split.kind={split}", "split.folds=2"),
        f"split.i_know_this_leaks={str(split == 'by_segment').lower()}",
    ]
    data = write_spectrograms(tmp_path / "data", tracks=10)
    execute(load_recipe("default-random", settings), read_dataset(data).tracks, tmp_path / "run")
    assert evaluate(tmp_path / "run", data).tracks_used_in_training == used


def test_of_a_steady_tone_it_is_not_known(model: Path, tmp_path: Path) -> None:
    """A drone has no fingerprint, so nothing says that the model was not trained on it."""
    for genre in ("jazz", "rock"):
        (tmp_path / genre).mkdir()
    write_song(tmp_path / "jazz/a.wav", 9.0, seed=9)
    time = np.arange(9 * RATE) / RATE
    soundfile.write(tmp_path / "rock/drone.wav", 0.3 * np.sin(2 * np.pi * 110 * time), RATE)
    result = evaluate(model, tmp_path, folder=tmp_path / "out")
    assert (result.tracks_used_in_training, result.tracks_perhaps_used_in_training) == (0, 1)
    assert not result.tested_on_training_data
    words = "of 1 of 2 tracks it is not known whether it was used in training (no fingerprint)"
    assert result.training_note == words
    page = (tmp_path / "out/report.md").read_text("utf-8")
    assert words in page and "TRAINED ON" not in page
    fields = json.loads(run(evaluate_command, model, "--data", tmp_path, "-f", "json").stdout)
    assert fields["tracks_perhaps_used_in_training"] == 1
    files = (tmp_path / "jazz", tmp_path / "rock")
    done = run(classify, *files, "--model", model, "--verbose")
    assert f"{words}: " in done.stderr and "drone.wav" in done.stderr
    for number, genre in enumerate(("jazz", "rock")):
        write_song(tmp_path / genre / "b.wav", 9.0, seed=20 + number)
    found, _ = compute_geometry(model, read_dataset(tmp_path), maps=False)
    assert found.subsets == {UNUSED: 3, UNKNOWN: 1}
