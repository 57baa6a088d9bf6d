"""Results that outlive their runs' folders, recipes that have changed since, and conclusions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrescope.errors import FileError
from genrescope.evaluation.conclusions import CLAIMS, Claim, conclusions, verdict
from genrescope.evaluation.metrics import compute_scores, log_loss
from genrescope.evaluation.predictions import Predictions, write_predictions
from genrescope.evaluation.published_comparison import compare_with_published
from genrescope.evaluation.records import read_records, write_records
from genrescope.evaluation.run_result import RunResult
from genrescope.evaluation.significance import McNemar

DOCS = Path(__file__).resolve().parents[1] / "docs"


def result(name: str, accuracy: float = 0.5, **fields: Any) -> RunResult:
    given = {"recipe": name, "n": 40, "accuracy": accuracy, "command": f"genrescope train {name}"}
    return RunResult.model_validate({**given, **fields})


def write_run(folder: Path, name: str, right: int, settings: str = "") -> None:
    """A run of 40 tracks of which the first `right` are predicted correctly."""
    folder.mkdir(parents=True)
    truth = np.arange(40) % 2
    predicted = np.where(np.arange(40) < right, truth, 1 - truth)
    probabilities = np.eye(2)[predicted]
    scores = compute_scores(truth, probabilities, ["a", "b"], resamples=20)
    RunResult.from_scores(scores, recipe=name, command=f"genrescope train {name}").write(folder)
    ids = tuple(f"t{n:02d}" for n in range(40))
    write_predictions(Predictions(("a", "b"), ids, ("only",) * 40, truth, probabilities), folder)
    (folder / "recipe.yaml").write_text(f"recipe: {{{settings}}}\n")


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/one", "one", 30, "name: one, seed: 3")
    found = compare_with_published(tmp_path / "runs").runs
    write_records(tmp_path / "page.jsonl", found, tmp_path / "runs")
    (record,) = read_records(tmp_path / "page.jsonl")
    assert record.accuracy == 0.75
    assert record.settings == {"name": "one", "seed": 3}
    assert record.right == "1" * 30 + "0" * 10
    assert record.tested == found[0].tested
    assert record.folder == Path("one")
    assert record.by_genre["a"].recall == found[0].by_genre["a"].recall


def test_a_folder_may_have_any_name(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xc3\xa9 \xe2\x80\xa8")
    write_run(tmp_path / "runs" / name, "one", 30)
    found = compare_with_published(tmp_path / "runs").runs
    write_records(tmp_path / "page.jsonl", found, tmp_path / "runs")
    assert [record.folder for record in read_records(tmp_path / "page.jsonl")] == [Path(name)]


def test_a_run_takes_the_place_of_its_record(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/one", "one", 30)
    records = [result("one", 0.1), result("two", 0.2)]
    comparison = compare_with_published(tmp_path / "runs", records=records)
    assert {run.name: run.accuracy for run in comparison.runs} == {"one": 0.75, "two": 0.2}


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "page.jsonl").write_text("{}\n")
    with pytest.raises(FileError, match="line 1 is damaged"):
        read_records(tmp_path / "page.jsonl")
    assert read_records(tmp_path / "none.jsonl") == []


def test_claims_are_tested_on_the_tracks_in_common(tmp_path: Path) -> None:
    claim = next(c for c in CLAIMS if not c.similar)
    write_run(tmp_path / "a", claim.better, 35)
    write_run(tmp_path / "b", claim.other, 20)
    table = conclusions(compare_with_published(tmp_path).runs)
    (line,) = (row for row in table.splitlines() if f"| {claim.text} |" in row)
    assert "| 87.5 | 50.0 | 15, 0; p < 0.001 | holds |" in line.replace("\\", "")
    assert table.count("| not run |") == len(CLAIMS) - 1


@pytest.mark.parametrize(
    ("accuracies", "p", "similar", "words"),
    [
        ((0.9, 0.5), 0.01, False, "holds"),
        ((0.9, 0.5), 0.2, False, "same direction, not significant"),
        ((0.5, 0.9), 0.2, False, "other direction, not significant"),
        ((0.5, 0.9), 0.01, False, "the opposite"),
        ((0.5, 0.9), 0.2, True, "holds"),
        ((0.5, 0.9), 0.01, True, "differs"),
    ],
)
def test_the_words(accuracies: tuple[float, float], p: float, similar: bool, words: str) -> None:
    claim = Claim("kth", "", "a", "b", similar)
    a, b = (result(name, value) for name, value in zip("ab", accuracies, strict=True))
    assert verdict(claim, a, b, McNemar(1, 2, p)) == words


@pytest.mark.parametrize("name", sorted({name for c in CLAIMS for name in (c.better, c.other)}))
def test_the_claims_are_about_recipes_there_are(name: str) -> None:
    pytest.importorskip("torch", reason="needs genrescope[train]")
    from genrescope.training.recipe import load_recipe

    assert load_recipe(name.partition(" on ")[0])


class TestOutdated:
    """A figure of another recipe is not shown silently."""

    def run(self, changes: list[str], command: str = "") -> str:
        pytest.importorskip("torch", reason="needs genrescope[train]")
        from genrescope.training.recipe import load_recipe
        from genrescope.training.recipe_changes import outdated

        name = "kth-table4/cnn/mfcc"
        settings = load_recipe(name, changes).model_dump(mode="json")
        found = result(name, command=f"genrescope train {name} {command}", segment_rule=2)
        return outdated(found.model_copy(update={"settings": settings}))

    def test_the_same_recipe(self) -> None:
        assert self.run([]) == ""

    def test_another(self) -> None:
        words = "measured with an older recipe (training.epochs was 7, is 360)"
        assert self.run(["training.epochs=7"]) == words

    def test_changed_on_the_command_line(self) -> None:
        assert self.run(["training.epochs=7"], "--data x --set training.epochs=7") == ""

    def test_adapted_to_stored_spectrograms(self) -> None:
        assert self.run(["feature.hop_length=1920", "feature.n_bins=544"]) == ""

    def test_before_a_repeated_segment_was_left_out(self) -> None:
        pytest.importorskip("torch", reason="needs genrescope[train]")
        from genrescope.training.recipe import load_recipe
        from genrescope.training.recipe_changes import outdated

        for name, words in (
            ("deepsound-mfcc", "measured before a repeated last segment was left out"),
            ("default", ""),
            ("gtzan-librosa/LR", ""),
        ):
            settings = load_recipe(name).model_dump(mode="json")
            found = result(name).model_copy(update={"settings": settings})
            assert outdated(found) == words
            assert outdated(found.model_copy(update={"segment_rule": 2})) == ""

    def test_the_page_says_so(self, tmp_path: Path) -> None:
        old = result("mine")
        (tmp_path / "runs").mkdir()
        found = compare_with_published(tmp_path / "runs", records=[old], outdated=lambda _: "old")
        assert found.others[0].outdated == "old"


def test_every_row_of_the_page_has_a_record() -> None:
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    records = read_records(DOCS / "results.jsonl")
    assert len(records) > 50
    for record in records:
        assert f"`{record.command}`" in page


def test_log_loss_is_that_of_scikit_learn() -> None:
    reference = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    probabilities, truth = random.dirichlet(np.ones(4), 50), random.integers(0, 4, 50)
    expected = reference.log_loss(truth, probabilities, labels=range(4))
    assert log_loss(truth, probabilities) == pytest.approx(expected)
    assert np.isfinite(log_loss(np.array([1]), np.array([[1.0, 0.0]])))
