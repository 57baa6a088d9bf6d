"""The search for settings: which tracks it uses, what it stores, resumes and reports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("optuna", reason="needs genrescope[lab]")

import optuna
from optuna.exceptions import StorageInternalError

from clips import write_spectrograms
from genrescope.cli import app
from genrescope.datasets import Track, scan
from genrescope.errors import FileError, RecipeError
from genrescope.training import tune as tune_module
from genrescope.training.protocols import make_protocol
from genrescope.training.recipe import Recipe, load_recipe
from genrescope.training.run import execute
from genrescope.training.study import fail_dead
from genrescope.training.tune import tune

RECIPE = """
name: tiny
description: a network of one block
seed: 0
feature: {kind: geometric_mel, n_mels: 24, fmin: 20, fmax: 11025, n_fft: 2048, hop_length: 1920,
  center: false, n_bins: 544}
scale: track
segments: {seconds: 3, overlap: 0}
model: {kind: cnn, channels: [4], dropout: 0.0}
training: {epochs: 3, batch_size: 4, learning_rate: 0.01, precision: fp32}
split: {kind: random}
search:
  training.learning_rate: {low: 1.0e-4, high: 0.1, log: true}
  model.channels: {choices: [[4], [8]]}
  training.batch_size: {low: 2, high: 6}
  model.dropout: {low: 0, high: 0.5}
"""
NAMES = ["training.learning_rate", "model.channels", "training.batch_size", "model.dropout"]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(threads)  # of which a search in several processes leaves this one a part


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spectrograms(tmp_path_factory.mktemp("data") / "mine", tracks=5)


@pytest.fixture(scope="module")
def tracks(data: Path) -> list[Track]:
    return scan(data)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def recipe(source: Path) -> Recipe:
    return load_recipe(source)


@pytest.fixture(scope="module")
def study(recipe: Recipe, tracks: list[Track], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two trials."""
    folder = tmp_path_factory.mktemp("study") / "tiny"
    tune(recipe, tracks, folder, trials=2)
    return folder


@pytest.fixture
def copy(study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(study, tmp_path / "copy"))


def opened(folder: Path, name: str = "tiny") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder / 'study.sqlite3'}")


def states(folder: Path) -> list[str]:
    return [trial.state.name for trial in opened(folder).trials]


def refusal(recipe: Recipe, tracks: list[Track], folder: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        tune(recipe, tracks, folder, trials=1)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_first_trial_is_the_recipe_as_it_is(study: Path) -> None:
    first, second = json.loads((study / "trials.json").read_text())
    assert [first[name] for name in NAMES] == [0.01, "[4]", 4, 0.0]
    assert [second[name] for name in NAMES] != [first[name] for name in NAMES]
    assert first["state"] == second["state"] == "complete"
    assert sorted(path.name for path in study.iterdir()) == [
        "best.yaml", "recipe.yaml", "study.lock", "study.sqlite3", "trials.json", "tuning.png",
    ]  # fmt: skip
    with Image.open(study / "tuning.png") as image:
        assert min(image.size) > 300


def test_a_study_resumes_up_to_the_number_asked_for(
    recipe: Recipe, tracks: list[Track], copy: Path
) -> None:
    reports: list[tuple[int, float | None]] = []
    found = tune(recipe, tracks, copy, trials=4, report=lambda *words: reports.append(words))
    assert found.trials == 4
    assert [done for done, _ in reports] == [3, 4]
    assert reports[-1][1] == found.best
    records = json.loads((copy / "trials.json").read_text())
    assert [record["number"] for record in records] == [0, 1, 2, 3]
    assert found.start == records[0]["value"]
    assert found.best == max(record["value"] for record in records)
    assert not list(copy.glob("trial-*"))
    # Asked for fewer than are there, it tells what was found.
    (copy / "trial-99").mkdir()  # of a trial whose process was killed
    again = tune(recipe, tracks, copy, trials=1, report=lambda *words: reports.append(words))
    assert not list(copy.glob("trial-*")), "what killed trials left is cleared away"
    assert again == found
    assert len(reports) == 2


def test_a_search_can_be_replayed_also_in_parts(
    recipe: Recipe, tracks: list[Track], study: Path, tmp_path: Path
) -> None:
    def drawn(folder: Path) -> list[dict[str, Any]]:
        return [trial.params for trial in opened(folder).trials]

    tune(recipe, tracks, tmp_path / "again", trials=1)
    tune(recipe, tracks, tmp_path / "again", trials=2)
    assert drawn(tmp_path / "again") == drawn(study)
    other = recipe.model_copy(update={"seed": 1})
    tune(other, tracks, tmp_path / "other", trials=2)
    assert drawn(tmp_path / "other")[1] != drawn(study)[1]


def test_settings_keep_their_ranges_and_kinds(
    recipe: Recipe, tracks: list[Track], copy: Path
) -> None:
    found = tune(recipe, tracks, copy, trials=4)
    for record in json.loads((copy / "trials.json").read_text()):
        assert 1e-4 <= record["training.learning_rate"] <= 0.1
        assert record["model.channels"] in ("[4]", "[8]")
        assert type(record["training.batch_size"]) is int
        assert 2 <= record["training.batch_size"] <= 6
        assert 0 <= record["model.dropout"] <= 0.5
    assert list(found.settings) == NAMES
    assert found.settings["model.channels"] in ([4], [8])


def test_the_best_recipe_loads_and_trains(
    recipe: Recipe, tracks: list[Track], study: Path, tmp_path: Path
) -> None:
    found = tune(recipe, tracks, study, trials=2)
    best = load_recipe(found.recipe)
    assert (best.name, best.search) == ("tiny-tuned", {})
    fields = best.model_dump(mode="json")
    for name, value in found.settings.items():
        part, key = name.split(".")
        assert fields[part][key] == value
    assert best.split == recipe.split
    assert best.frontend == recipe.frontend
    # The search scored the validation tracks; a run scores the test tracks.
    assert execute(best, tracks, tmp_path / "run").n == 2


def test_the_test_tracks_are_never_used(
    recipe: Recipe, tracks: list[Track], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials: list[tuple[Any, set[str], dict[str, Any]]] = []
    clean = shutil.rmtree

    def keep(place: Path, **settings: Any) -> None:
        with np.load(place / "jobs/only/logits.npz") as arrays:
            predicted = set(arrays["tracks"].tolist())
        trials.append((place, predicted, json.loads((place / "metrics.json").read_text())))
        clean(place, **settings)

    monkeypatch.setattr(shutil, "rmtree", keep)
    execute(recipe, tracks, tmp_path / "run")
    groups = {track.id: track.id for track in tracks}
    settings = recipe.split
    (job,) = make_protocol(settings, tracks, groups, seed=recipe.seed, needs_validation=False).jobs
    found = tune(recipe, tracks, tmp_path / "study", trials=2)
    assert len(trials) == 2
    for _, predicted, metrics in trials:
        assert predicted == set(job.train) | set(job.validation)
        assert not predicted & set(job.test)
        assert metrics["n"] == len(job.validation)
        assert metrics["accuracy"] <= found.best
    # The same settings in a run have the same accuracy on the same validation tracks.
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["validation_accuracy"] == pytest.approx(found.start)


def test_a_trial_below_the_median_is_pruned(
    recipe: Recipe, tracks: list[Track], tmp_path: Path
) -> None:
    fields = recipe.model_dump(mode="json")
    fields |= {"pool": ["mean"], "model": {"kind": "mlp", "hidden": [8]}}
    fields["training"] |= {"epochs": 8, "learning_rate": 0.02, "batch_size": 2, "ema_decay": 0}
    fields["search"] = {"training.learning_rate": {"choices": [0.02, 1e-9]}}
    variant = Recipe.model_validate(fields)
    folder = tmp_path / "study"
    tune(variant, tracks, folder, trials=1)
    for value in [0.02] * 4 + [1e-9]:
        opened(folder).enqueue_trial({"training.learning_rate": json.dumps(value)})
    found = tune(variant, tracks, folder, trials=6)
    assert states(folder) == ["COMPLETE"] * 5 + ["PRUNED"]
    assert (found.trials, found.pruned) == (6, 1)
    assert found.settings == {"training.learning_rate": 0.02}
    last = opened(folder).trials[-1]
    assert max(last.intermediate_values) < 8  # it did not train to its end


def test_settings_that_do_not_go_together_are_pruned(
    recipe: Recipe, tracks: list[Track], tmp_path: Path
) -> None:
    fields = recipe.model_dump(mode="json")
    fields["search"] = {"model.channels": {"choices": [[4], [4] * 9]}}
    variant, folder = Recipe.model_validate(fields), tmp_path / "study"
    tune(variant, tracks, folder, trials=1)
    opened(folder).enqueue_trial({"model.channels": json.dumps([4] * 9)})
    found = tune(variant, tracks, folder, trials=2)
    assert states(folder) == ["COMPLETE", "PRUNED"]
    assert (found.trials, found.pruned, found.settings) == (2, 1, {"model.channels": [4]})


def test_a_recipe_that_can_not_be_carried_out_says_why(
    recipe: Recipe, tracks: list[Track], tmp_path: Path
) -> None:
    fields = recipe.model_dump(mode="json")
    fields["model"]["channels"] = [4] * 9
    fields["search"] = {"training.epochs": {"low": 1, "high": 4}}
    assert "512" in refusal(Recipe.model_validate(fields), tracks, tmp_path / "study")
    assert states(tmp_path / "study") == ["FAIL"]


@pytest.mark.parametrize(
    ("where", "error", "state"),
    [
        ("genrescope.training.tune.execute", KeyboardInterrupt, "FAIL"),
        # While the outcome is stored.
        ("optuna.study.Study.tell", KeyboardInterrupt, "RUNNING"),
        ("optuna.storages.RDBStorage.set_trial_state_values", KeyboardInterrupt, "RUNNING"),
        ("optuna.storages.RDBStorage.set_trial_state_values", StorageInternalError, "RUNNING"),
        # While the next trial begins.
        ("genrescope.training.study.hold", KeyboardInterrupt, "RUNNING"),
    ],
)
def test_a_trial_that_does_not_end_does_not_count(
    recipe: Recipe,
    tracks: list[Track],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    error: type[BaseException],
    state: str,
) -> None:
    real = resolve_name(where)

    def fail(*given: Any, **named: Any) -> Any:
        if any(getattr(each, "name", "") == "RUNNING" for each in (*given, *named.values())):
            return real(*given, **named)  # a trial begins
        raise error

    raised = FileError if error is StorageInternalError else error
    with monkeypatch.context() as patch, pytest.raises(raised):
        patch.setattr(where, fail)
        tune(recipe, tracks, tmp_path / "study", trials=1)
    assert states(tmp_path / "study") == [state]
    found = tune(recipe, tracks, tmp_path / "study", trials=1)
    assert states(tmp_path / "study") == ["FAIL", "COMPLETE"]
    assert found.trials == 1
    assert found.start == found.best  # the recipe as it is had its turn after all
    assert found.settings["training.learning_rate"] == 0.01


def test_what_can_not_be_tuned(
    recipe: Recipe, tracks: list[Track], study: Path, tmp_path: Path
) -> None:
    fields = recipe.model_dump(mode="json")

    def other(**changes: Any) -> Recipe:
        return Recipe.model_validate(fields | changes)

    nowhere = tmp_path / "nowhere"
    assert refusal(other(search={}), tracks, nowhere) == "tiny: has no search: nothing to tune"
    folds = {"kind": "folds", "folds": 2}
    assert refusal(other(split=folds), tracks, nowhere) == (
        "tiny: a split into folds has no validation subset"
    )
    apart = {"training.learning_rate": {"low": 0.1, "high": 0.2}}
    assert refusal(other(search=apart), tracks, nowhere) == (
        "tiny: search.training.learning_rate does not include the recipe's own 0.01"
    )
    unset = {"model.strength": {"choices": [1, 2]}}
    assert "search.model.strength does not include the recipe's own None" in refusal(
        other(search=unset), tracks, nowhere
    )
    assert not nowhere.exists()
    none = {"kind": "random", "train": 0.8, "validation": 0, "test": 0.2}
    assert refusal(other(split=none), tracks, tmp_path / "none") == (
        "the split has no validation subset"
    )
    words = "holds a study of another recipe or other data; name another folder"
    assert words in refusal(other(seed=1), tracks, study)
    assert words in refusal(recipe, tracks[1:], study)
    assert states(study) == ["COMPLETE"] * 2


def test_the_command_tells_what_was_found(source: Path, data: Path, copy: Path) -> None:
    words = ["tune", str(source), "--data", str(data), "--trials", "3", "--out", str(copy)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "trial 3 of 3" in done.stderr
    assert "3 trials of tiny" in done.stdout
    assert all(name in done.stdout for name in NAMES)
    assert "Validation accuracy" in done.stdout and "stopped early" in done.stdout
    assert str(copy / "best.yaml") in done.stderr
    done = CliRunner().invoke(app, [*words, "--format", "json"])
    found = json.loads(done.stdout)
    assert found["trials"] == 3
    assert list(found["settings"]) == NAMES
    assert 0 <= found["start"] <= found["best"] <= 1
    assert load_recipe(found["recipe"]).name == "tiny-tuned"


@pytest.mark.parametrize("differ", [True, False])
def test_what_mattered_is_told_only_where_trials_differ(differ: bool) -> None:
    study = optuna.create_study(direction="maximize")
    random = np.random.default_rng(0)
    ranges = {name: optuna.distributions.FloatDistribution(0, 1) for name in ("much", "little")}
    for much, little in random.random((30, 2)):
        params = {"much": much, "little": little}
        value = much + 0.01 * little if differ else 0.5
        study.add_trial(optuna.trial.create_trial(params=params, distributions=ranges, value=value))
    importance = tune_module._importance(study)
    if not differ:
        assert importance == {}
        return
    assert list(importance) == ["much", "little"]
    assert importance["much"] > 0.6
    assert sum(importance.values()) == pytest.approx(1, abs=0.001)


def test_two_processes_work_on_one_study_and_end_when_asked(
    source: Path, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    process = subprocess.Popen(
        [
            sys.executable, "-m", "genrescope", "tune", source, "--data", data, "--jobs", "2",
            "--trials", "1000", "--out", folder, "--set", "training.epochs=20",
        ],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    deadline = time.monotonic() + 600  # of a machine that is busy with other tests
    together: list[Any] = []
    while len(together) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
        if any(folder.glob("trial-*")):  # the study is whole by then
            together = [t for t in opened(folder).trials if t.state.name == "RUNNING"]
    process.terminate()
    _, stderr = process.communicate(timeout=600)
    assert len(together) == 2, stderr
    assert process.returncode == 143, stderr
    assert f"interrupted; the same command resumes the search in {folder}" in stderr
    trials = opened(folder).trials
    # What an ill-timed end left is cleared away when the study is opened again.
    fail_dead(opened(folder), folder)
    assert not [*folder.glob("trial-*")]
    assert {t.state.name for t in opened(folder).trials} <= {"COMPLETE", "FAIL"}
    drawn = [json.dumps(t.params, sort_keys=True) for t in trials if t.params]
    assert len(set(drawn)) == len(drawn)
