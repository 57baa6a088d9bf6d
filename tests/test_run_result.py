"""The result of a run as a typed value: written, read back, and read from files of version 0.1."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from genrescope.errors import FileError
from genrescope.evaluation.metrics import METRICS, compute_scores
from genrescope.evaluation.run_result import RunResult, find_runs
from genrescope.evaluation.run_values import LeftOut

GENRES = ("blues", "jazz", "rock")

# As version 0.1 wrote it, after a run of two folds.
RUN_0_1 = """{
 "n": 4, "accuracy": 0.75, "top3_accuracy": 1.0, "macro_precision": 0.833333, "macro_recall": 0.75,
 "macro_f1": 0.733333, "roc_auc": null, "expected_calibration_error": 0.1,
 "interval": {"accuracy": [0.25, 1.0], "roc_auc": [null, null]},
 "by_genre": {"blues": {"n": 4, "precision": 1.0, "recall": 0.75, "f1": 0.857143,
                        "recall_interval": [0.25, 1.0]}},
 "confusion": [[3, 1], [0, 0]],
 "recipe": "folded", "command": "genrescope train folded.yaml --data mine", "seed": 3,
 "split": {"kind": "folds", "train": 0.6, "validation": 0.2, "test": 0.2, "folds": 2, "repeats": 2,
           "by_artist": true, "i_know_this_leaks": false},
 "leaked": false, "published": null,
 "data": {"name": "mine", "tracks": 5, "with_artist": 4, "fingerprint": "27e1"},
 "train": 4, "validation": 0, "train_accuracy": NaN, "temperature": 0.9173,
 "by_artists_learned_from": 1, "left_out": ["jazz.00054"], "chosen": {"C": 1.0, "of": 4},
 "parts": {"fold-1": {"train": 2, "test": 2, "accuracy": 0.5},
           "repeat-2-fold-1": {"train": 2, "test": 2, "accuracy": 1.0}}
}"""
EVALUATION_0_1 = """{
 "model": "default", "data": "other", "n": 2, "accuracy": 0.5,
 "interval": {"accuracy": [0.0, 1.0]}, "by_genre": {}, "confusion": [[1, 1], [0, 0]],
 "genre_map": {"Hip-Hop": "hiphop"}, "failed": [{"path": "a/b.wav", "reason": "not audio"}],
 "command": "genrescope evaluate default --data other", "by_artist": true,
 "provenance": {"recipe": {"name": "default", "voting": "mean", "seed": 3},
                "data": {"name": "GTZAN", "tracks": 850}, "torch": "2.13.0"},
 "published": {"paper": "kth", "table": "table 4", "elsewhere": "table 5", "protocol": null}
}"""


@pytest.fixture
def result() -> RunResult:
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(2), 10)  # no track of the third genre
    probabilities = random.dirichlet(np.ones(3), 20)
    scores = compute_scores(truth, probabilities, GENRES, resamples=20)
    return RunResult.from_scores(
        scores,
        n=19,
        recipe="mine",
        data={"name": "d", "tracks": 20, "with_artist": 3, "fingerprint": "f"},
        split={"kind": "random", "train": 0.6, "validation": 0.2, "test": 0.2, "repeats": 1},
        folds={"only": {"train_tracks": 12, "test_tracks": 4, "accuracy": 0.5}},
        left_out=[LeftOut(track="x", reason="not audio")],
        train_accuracy=float("nan"),
        seed=5,
        command="genrescope train mine",
    )


def test_it_reads_back_what_it_wrote(result: RunResult, tmp_path: Path) -> None:
    result.write(tmp_path)
    found = RunResult.read(tmp_path)
    assert found.folder == tmp_path
    assert found.to_dict() == result.to_dict()
    written = (tmp_path / "metrics.json").read_text()
    assert "NaN" not in written
    fields = json.loads(written)
    assert fields["schema_version"] == 2
    assert fields["train_accuracy"] is None
    assert not {"settings", "folder"} & fields.keys()


def test_scores_and_intervals_are_those_that_were_computed(result: RunResult) -> None:
    truth = np.repeat(np.arange(2), 10)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    scores = compute_scores(truth, probabilities, GENRES, resamples=20)
    assert result.n == 19
    for name in METRICS:
        assert result.percent(name) == pytest.approx(100 * scores.values[name], abs=1e-4)
        low, high = scores.intervals[name]
        assert result.interval_percent(name) == pytest.approx((100 * low, 100 * high), abs=1e-4)
    assert result.by_genre["jazz"].recall == pytest.approx(scores.genres["jazz"]["recall"])
    assert result.confusion == scores.confusion.tolist()


def test_a_run_of_version_0_1_is_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(RUN_0_1)
    recipe = {"recipe": {"voting": "mean", "seed": 9}, "teacher": ["a", "b"]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    found = RunResult.read(tmp_path)
    assert (found.name, found.n, found.seed, found.accuracy) == ("folded", 4, 3, 0.75)
    assert found.fold_accuracies == {"fold-1": 0.5, "repeat-2-fold-1": 1.0}
    assert (found.folds["fold-1"].train_tracks, found.folds["fold-1"].test_tracks) == (2, 2)
    assert (found.train_tracks, found.validation_tracks) == (4, 0)
    assert found.test_tracks_of_training_artists == 1
    assert found.train_accuracy is found.roc_auc is found.interval_percent("roc_auc") is None
    assert found.interval_percent("accuracy") == (25.0, 100.0)
    assert found.by_genre["blues"].recall_interval == (0.25, 1.0)
    assert found.left_out == [LeftOut(track="jazz.00054")]
    assert found.chosen_settings == {"C": 1.0, "of": 4}
    assert found.grouped_by_artist
    assert found.protocol == "2 folds by artist, 2 repetitions"
    assert found.teacher_tracks == 2
    assert found.settings["aggregation"] == "mean_probability"


def test_an_evaluation_of_version_0_1_is_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(EVALUATION_0_1)
    found = RunResult.read(tmp_path)
    assert found.kind == "evaluation" and found.name == "default on other"
    assert found.data.name == "other"
    assert [str(track) for track in found.left_out] == ["a/b.wav: not audio"]
    assert found.grouped_by_artist and found.genre_map == {"Hip-Hop": "hiphop"}
    assert found.provenance and found.provenance.data.tracks == 850
    assert found.settings == {"name": "default", "aggregation": "mean_probability", "seed": 3}
    assert found.seed == 3
    assert found.comparable_row and found.comparable_row.table == "table 5"
    assert found.protocol == "all tracks"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "metrics.json: can't be read"),
        ("[]", "expected a JSON object"),
        ('{"n": 3, "recipe": "a"}', "accuracy: Field required"),
        ('{"n": 3, "accuracy": 0.5}', "either a recipe or a model"),
        ('{"n": 3, "accuracy": NaN, "recipe": "a"}', "accuracy"),
        ('{"n": 3, "accuracy": 0.5, "recipe": "a", "parts": 3}', "folds: "),
        ('{"n": 3, "accuracy": 0.5, "recipe": "a", "left_out": 3}', "left_out: "),
        ('{"n": 3, "accuracy": 0.5, "recipe": "a", "interval": {"accuracy": [1]}}', "interval"),
        ('{"schema_version": 3, "n": 3}', "schema version 3, not 2"),
    ],
)
def test_a_damaged_file_is_named_on_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(FileError) as raised:
        RunResult.read(tmp_path)
    assert words in str(raised.value) and "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no finished run: it has no metrics\.json"):
        RunResult.read(tmp_path)
    with pytest.raises(FileError, match="no such folder"):
        find_runs(tmp_path / "none")


def test_runs_are_found_and_damaged_ones_listed(result: RunResult, tmp_path: Path) -> None:
    for name in ("a", "deep/b", "cut"):
        (tmp_path / name).mkdir(parents=True)
        result.write(tmp_path / name)
    (tmp_path / "cut/metrics.json").write_text("{")
    found, problems = find_runs(tmp_path)
    assert [one.folder for one in found] == [tmp_path / "a", tmp_path / "deep/b"]
    assert [Path(one.path).parent.name for one in problems] == ["cut"]
