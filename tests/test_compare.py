"""Published figures, runs compared with them, the page of results, and two runs compared."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from genrescope.cli.compare import compare
from genrescope.errors import FileError, RecipeError
from genrescope.evaluation.not_run import not_run, statements
from genrescope.evaluation.published import (
    PublishedRow,
    published_figures,
    published_results,
    published_statements,
)
from genrescope.evaluation.published_comparison import compare_with_published
from genrescope.evaluation.report import write_report
from genrescope.evaluation.results import run_title, to_markdown, write_results
from genrescope.evaluation.run_result import RunResult
from genrescope.evaluation.run_values import SplitDescription
from genrescope.training.recipe import expand, load_recipe
from genrescope.training.recipe_files import shipped_recipes

LSTM = {"paper": "kth", "table": "table 4", "features": "mfcc 20", "model": "lstm"}
RANDOM = {"kind": "random", "train": 0.6, "validation": 0.2, "test": 0.2, "by_artist": False}
DATA = {"name": "gtzan", "tracks": 1000, "fingerprint": "f"}
FEATURE = {"kind": "mfcc", "hop_length": 512}
SETTINGS = {"feature": FEATURE, "segments": {"seconds": 3.0}, "aggregation": "majority", "seed": 7}


def put(
    folder: Path, accuracy: float = 0.7, *, settings: dict[str, Any] = SETTINGS, **more: Any
) -> Path:
    """A finished run's folder, as training writes it."""
    folder.mkdir(parents=True)
    metrics: dict[str, Any] = {
        "schema_version": 2,
        "n": 200,
        "accuracy": accuracy,
        "macro_f1": accuracy - 0.02,
        "interval": {"accuracy": [accuracy - 0.06, accuracy + 0.06]},
        "recipe": folder.name,
        "seed": settings["seed"],
        "split": RANDOM,
        "leaked": False,
        "published": LSTM,
        "data": DATA,
        "left_out": [],
        **more,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"recipe": settings, "data": DATA}))
    return folder


def put_predictions(folder: Path, correct: str) -> None:
    """Predictions of tracks of the genre a; "1" is a correct one."""
    lines = ["track,fold,genre,predicted,confidence,a,b"]
    for number, digit in enumerate(correct):
        predicted, row = ("a", "0.9,0.1") if digit == "1" else ("b", "0.1,0.9")
        lines.append(f"t{number},only,a,{predicted},0.9,{row}")
    (folder / "predictions.csv").write_text("\n".join(lines) + "\n")


def run(*words: str | Path) -> Result:
    app = typer.Typer()
    app.command()(compare)
    return CliRunner().invoke(app, [str(word) for word in words])


class TestPublished:
    """The papers' figures"""

    def test_there_are_319_in_298_rows(self) -> None:
        figures = published_results()
        assert len(figures) == 319
        assert len({figure.row for figure in figures}) == 298
        assert {figure.subset for figure in figures} == {"train", "validation", "test"}

    @pytest.mark.shared
    def test_they_are_those_of_the_papers(self, shared: Path) -> None:
        with (shared / "papers" / "published_results.csv").open(newline="") as file:
            theirs = [tuple(line.values()) for line in csv.DictReader(file)]
        ours = [
            (
                f.paper,
                f.table,
                f.dataset,
                f.protocol,
                f.features,
                f.model,
                f.metric,
                f.value_percent,
            )
            for f in published_results()
        ]
        assert ours == [(*texts, float(value)) for *texts, value in theirs]

    def test_a_row_has_the_figures_of_all_subsets(self) -> None:
        figures = published_figures(PublishedRow(**LSTM | {"model": "LSTM"}))
        assert [(f.subset, f.value_percent) for f in figures] == [
            ("train", 77.48),
            ("validation", 68.5),
            ("test", 68.0),
        ]

    @pytest.mark.parametrize(
        "features",
        ["fma descriptors: mfcc/contrast (189-d)", "mfcc/contrast", "MFCC/contrast (189-d)"],
    )
    def test_features_without_prefix_or_suffix(self, features: str) -> None:
        row = {"paper": "berkeley", "table": "fig 8", "features": features, "model": "LR"}
        (figure,) = published_figures(PublishedRow(**row))
        assert figure.value_percent == 43.25

    def test_an_unknown_row_is_named(self) -> None:
        with pytest.raises(RecipeError, match="row: kth, table 9, mfcc 20, lstm"):
            published_figures(PublishedRow(**LSTM | {"table": "table 9"}))

    def test_several_rows_are_distinguished_by_their_protocol(self) -> None:
        row = {"paper": "leiden", "table": "table 2", "features": "spectrogram image"}
        row["model"] = "xception"
        with pytest.raises(RecipeError, match="add the protocol of one of them: 30 s clean"):
            published_figures(PublishedRow(**row))
        (figure,) = published_figures(PublishedRow(**row, protocol="30 s clean"))
        assert figure.value_percent == 66.0

    def test_every_shipped_recipe_is_compared_with_one_row(self) -> None:
        rows = set()
        for family in shipped_recipes():
            for name in expand(family):
                try:
                    published = load_recipe(name).published
                except RecipeError as error:  # waits for its feature
                    assert "no feature" in str(error)
                    continue
                if published and published.table:
                    row = PublishedRow(**published.model_dump())
                    rows.add(published_figures(row)[0].row)
                    if row.elsewhere:
                        other = row.model_copy(update={"table": row.elsewhere})
                        rows.add(published_figures(other)[0].row)
        assert len(rows) >= 297  # all but what fine-tunes VGGish


class TestSectionsWithoutAccuracy:
    """Statements of single genres, and published figures without a run"""

    def test_statements_have_the_papers_numbers(self) -> None:
        losses = [s.low for s in published_statements() if s.metric == "test loss"]
        assert losses == [9766.05, 1.4073, 0.9703, 0.8062]
        alone = [s for s in published_statements() if s.unit == "points"]
        assert [(s.low, s.high) for s in alone] == [(-3, 3), (-10, -5)]

    @pytest.mark.parametrize(("recall", "holds"), [(0.2, "yes"), (0.9, "no")])
    def test_a_recall_is_compared_with_the_statement(self, recall: float, holds: str) -> None:
        scores = {"n": 20, "precision": 0.5, "recall": recall, "f1": 0.5}
        result = RunResult(
            recipe="own",
            n=20,
            accuracy=0.5,
            by_genre={"blues": scores},
            published={**LSTM, "model": "cnn"},
        )
        (line,) = [x for x in statements([result]).splitlines() if "recall of blues" in x]
        assert line.endswith(f"| {100 * recall:.1f} percent | {holds} | own |")

    def test_each_figure_without_a_run_has_a_reason(self) -> None:
        text = not_run(published_results())
        counts = [int(line.split(" | ")[2]) for line in text.splitlines()[2:]]
        assert sum(counts) == len(published_results())
        assert "needs FMA-small's audio and VGGish's weights | `berkeley-fig7`" in text
        assert not_run([]) == ""


class TestComparison:
    """Runs compared with published figures"""

    def test_figures_differences_and_intervals(self, tmp_path: Path) -> None:
        put(tmp_path / "a", 0.71, train_accuracy=0.6, validation_accuracy=0.7)
        train, validation, test = compare_with_published(tmp_path).rows
        assert [r.difference for r in (train, validation, test)] == [-17.5, 1.5, 3.0]
        assert test.interval == pytest.approx((65.0, 77.0))
        assert train.interval is validation.interval is None
        assert not train.verdict  # a lower training accuracy is no fault
        assert test.differences == ()
        assert test.run and test.run.command == "genrescope train a"

    @pytest.mark.parametrize(
        ("accuracy", "verdict"),
        [(0.68, ""), (0.6796, ""), (0.65, "below, within the interval"), (0.5, "below")],
    )
    def test_below_or_not(self, tmp_path: Path, accuracy: float, verdict: str) -> None:
        put(tmp_path / "a", accuracy)
        (row,) = compare_with_published(tmp_path).rows
        assert row.verdict == verdict

    def test_few_tracks_are_neither_below_nor_in_agreement(self, tmp_path: Path) -> None:
        wide = {"accuracy": [0.0, 1.0]}
        put(tmp_path / "a", 0.5, n=4, interval=wide, validation_tracks=5, validation_accuracy=0.4)
        validation, test = compare_with_published(tmp_path).rows
        assert validation.verdict == test.verdict == "too few tracks"
        text = run(tmp_path, "-f", "markdown").stdout
        assert text.count("too few tracks") == 2
        assert "below" not in text
        assert not re.search("below|within our", run(tmp_path).stdout)
        put(tmp_path / "b", 0.5, n=30, validation_tracks=30, validation_accuracy=0.4)
        assert {row.verdict for row in compare_with_published(tmp_path / "b").rows} == {"below"}

    def test_what_a_recipe_states_does_not_hold_for_other_settings(self, tmp_path: Path) -> None:
        published = {**LSTM, "differs": "20 epochs instead of 5"}
        changed = "genrescope train a --set training.epochs=2 --set seed=1"
        put(tmp_path / "a", 0.5, published=published, command=changed)
        put(tmp_path / "b", 0.5, published=published, command="genrescope train b --set seed=1")
        text = " ".join(run(tmp_path).stdout.split())
        assert text.count("20 epochs instead of 5") == 1
        explanations = [row.explanation for row in compare_with_published(tmp_path).rows]
        expected = "changed with --set training.epochs=2; what its recipe states need not hold"
        assert explanations == [expected, "20 epochs instead of 5"]

    def test_differences_are_found_in_the_settings(self, tmp_path: Path) -> None:
        settings = {
            "feature": {"kind": "mfcc", "hop_length": 1920, "n_bins": 544, "n_fft": 2048},
            "segments": {"seconds": 5.0},
            "aggregation": "mean_probability",
            "ensemble": [{}, {}],
            "seed": 0,
        }
        put(
            tmp_path / "a",
            settings=settings,
            data={**DATA, "name": "gtzan-spectrograms", "tracks": 850},
            left_out=[{"track": "x"}],
            split={"kind": "folds", "folds": 5, "by_artist": True},
            published={**LSTM, "differs": "more epochs"},
        )
        (row,) = compare_with_published(tmp_path).rows
        assert row.explanation == "more epochs"
        assert row.differences == (
            "849 of 1000 tracks",
            "data: gtzan-spectrograms",
            "5 folds by artist",
            "hop of 1920 samples, not 512",
            "544 of 1025 frequency bins",
            "segments of 5 s",
            "aggregation by mean_probability",
            "2 networks averaged",
        )

    def test_stored_vectors_and_the_official_split(self, tmp_path: Path) -> None:
        row = {"paper": "berkeley", "table": "fig 6", "features": "mfcc (fma baseline)"}
        put(
            tmp_path / "a",
            settings={"feature": {"kind": "stored", "name": "m"}, "seed": 0},
            data={"name": "FMA_small", "tracks": 7994},
            split={"kind": "official"},
            published={**row, "model": "LR"},
        )
        (found,) = compare_with_published(tmp_path).rows
        assert found.differences == ("stored vectors (m)",)

    def test_a_leaked_run_is_compared_with_a_leak_free_one(self, tmp_path: Path) -> None:
        leaky = {"kind": "by_segment", "train": 0.6, "validation": 0.2, "test": 0.2}
        put(tmp_path / "leaky", 0.99, leaked=True, split=leaky)
        put(
            tmp_path / "other",
            0.5,
            settings={**SETTINGS, "aggregation": "mean_probability"},
            published=None,
        )
        several = {**SETTINGS, "ensemble": [{}, {}]}
        put(tmp_path / "first", 0.5, settings=several, published=None)
        put(tmp_path / "same", 0.6, settings={**SETTINGS, "ensemble": []}, published=None)
        results = compare_with_published(tmp_path)
        assert not results.rows
        assert len(results.missing) == 319
        assert [run.name for run in results.others] == ["first", "other", "same"]
        (leak,) = results.leaks
        assert leak.run.name == "leaky"
        assert leak.leak_free and leak.leak_free.name == "same"
        text = to_markdown(results)
        assert "| **LEAKED** | leaky |" in text
        assert "## The kth paper" not in text

    def test_other_data_are_compared_with_the_paper_s_other_data(self, tmp_path: Path) -> None:
        row = {"paper": "deepsound", "table": "fig 1", "elsewhere": "fig 2", "features": "mfcc 13"}
        row["model"] = "conv+pool+dense network"
        folder = tmp_path / "on-other"
        folder.mkdir()
        # As version 0.1 wrote it.
        metrics = {"model": "m", "data": "/far/away/other", "n": 30, "accuracy": 0.25}
        metrics |= {"published": row, "provenance": {"recipe": {"seed": 3}}}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (found,) = compare_with_published(tmp_path).rows
        assert (found.figure.table, found.figure.value_percent, found.difference) == (
            "fig 2",
            29,
            -4,
        )
        assert found.differences == ("30 other tracks instead of its 31", "data: other")
        assert found.run and found.run.seed == 3
        assert found.run.command == "genrescope evaluate m --data other"

    @pytest.mark.parametrize(
        ("row", "trained_on", "protocol"),
        [
            ({"elsewhere": ""}, "GTZAN", "all tracks"),
            ({"elsewhere": "fig 2"}, "other", "all tracks, including those it was trained on"),
        ],
        ids=["the paper has no figure of other data", "the model was trained on it"],
    )
    def test_a_model_on_other_data_is_not_compared_with_the_paper_s_own_test(
        self, tmp_path: Path, row: dict[str, str], trained_on: str, protocol: str
    ) -> None:
        row |= {"paper": "deepsound", "table": "fig 1", "features": "mfcc 13"}
        row["model"] = "conv+pool+dense network"
        metrics = {"model": "m", "data": "other", "n": 30, "accuracy": 0.99, "published": row}
        metrics["provenance"] = {"recipe": {"seed": 3}, "data": {"name": trained_on}}
        (tmp_path / "metrics.json").write_text(json.dumps(metrics))
        results = compare_with_published(tmp_path)
        assert not results.rows
        assert len(results.others) == 1
        assert f"| {protocol} |" in to_markdown(results)
        write_report(tmp_path)
        assert "Comparison with the paper" not in (tmp_path / "report.md").read_text()

    def test_runs_that_cannot_be_used_are_named_and_the_rest_goes_on(self, tmp_path: Path) -> None:
        put(tmp_path / "good")
        put(tmp_path / "unknown", published={**LSTM, "model": "gru"})
        for name, text in [("cut", '{"n": 3'), ("list", "[]"), ("empty", "{}")]:
            (tmp_path / name).mkdir()
            (tmp_path / name / "metrics.json").write_text(text)
        put(tmp_path / "no-yaml").joinpath("recipe.yaml").write_text("a: [")
        results = compare_with_published(tmp_path)
        assert [row.run.name for row in results.rows if row.run] == ["good"]
        assert [run.name for run in results.others] == ["unknown"]
        texts = [str(problem) for problem in results.problems]
        assert [next(n for n in texts if name in n) for name in ("cut", "list", "empty", "gru")]
        assert any("no-yaml/recipe.yaml" in text for text in texts)
        assert len(texts) == 5

    def test_runs_of_one_recipe_are_distinguished_by_their_folders(self, tmp_path: Path) -> None:
        for name in ("a", "second"):
            put(tmp_path / name, recipe="a", published=None)
        assert [run_title(run) for run in compare_with_published(tmp_path).others] == [
            "a",
            "a (second)",
        ]

    def test_a_score_that_was_not_measured_is_not_listed(self, tmp_path: Path) -> None:
        put(tmp_path / "a", train_accuracy=float("nan"), validation_accuracy=None)
        assert [row.figure.subset for row in compare_with_published(tmp_path).rows] == ["test"]

    def test_splits_in_words(self) -> None:
        assert str(SplitDescription(**RANDOM)) == "random 60/20/20 by track"
        folds = SplitDescription(kind="folds", folds=10, repeats=3)
        assert str(folds) == "10 folds by track, 3 repetitions"
        assert str(SplitDescription()) == ""


@pytest.mark.needs("train")
class TestPage:
    """--write"""

    def test_a_page_is_made_and_replaced_between_its_marks(self, tmp_path: Path) -> None:
        put(
            tmp_path / "runs" / "a",
            0.61,
            train_accuracy=0.9,
            published={**LSTM, "differs": "x | y"},
        )
        page = tmp_path / "docs" / "results.md"
        results = compare_with_published(tmp_path / "runs")
        assert write_results(results, page) == [page, page.with_suffix(".png")]
        first, picture = page.read_text(), page.with_suffix(".png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        page.write_text("before\n" + first.replace("61.0", "lost") + "after\n")
        write_results(results, page)
        assert page.read_text() == "before\n" + first + "after\n"
        assert page.with_suffix(".png").read_bytes() == picture
        row = next(line for line in first.splitlines() if line.startswith("| mfcc 20 |"))
        assert row == (
            "| mfcc 20 | lstm | 77.5, 90.0 | 68.0 | 61.0 | 55.0 to 67.0 | -7.0 **below** | 200 | 7 "
            "| x \\| y | `genrescope train a` |"
        )
        assert "2 of the 319 published figures have a run." in first

    def test_a_lower_figure_is_explained(self, tmp_path: Path) -> None:
        put(tmp_path / "a", 0.5, published={**LSTM, "differs": "shorter training"})
        put(tmp_path / "b", 0.5, published={**LSTM, "model": "cnn"})
        text = to_markdown(compare_with_published(tmp_path))
        assert "Explanation" in text
        assert any("shorter training" in line for line in text.splitlines() if "| lstm |" in line)
        assert any("not explained" in line for line in text.splitlines() if "| cnn |" in line)

    def test_shared_differences_are_listed_once(self, tmp_path: Path) -> None:
        less = {**DATA, "tracks": 850}
        put(tmp_path / "a", data=less)
        put(tmp_path / "b", data=less, published={**LSTM, "model": "cnn"})
        text = to_markdown(compare_with_published(tmp_path))
        assert text.count("850 of 1000 tracks") == 1
        assert "Differences of our protocol:" in text
        assert "ifferences |" not in text

    @pytest.mark.parametrize("text", ["no marks", "<!-- /results --><!-- results -->"])
    def test_a_page_without_marks_is_left_alone(self, tmp_path: Path, text: str) -> None:
        put(tmp_path / "runs" / "a")
        page = tmp_path / "page.md"
        page.write_text(text)
        with pytest.raises(FileError, match="expected one <!-- results -->"):
            write_results(compare_with_published(tmp_path / "runs"), page)
        assert page.read_text() == text
        assert not page.with_suffix(".png").exists()


class TestCommand:
    """genrescope compare"""

    def test_json(self, tmp_path: Path) -> None:
        put(tmp_path / "deep" / "er" / "a", 0.71, command="genrescope train a --set x=1")
        fields = json.loads(run(tmp_path, "--format", "json").stdout)
        assert (fields["published_figures"], fields["with_a_run"]) == (319, 1)
        (row,) = fields["rows"]
        assert (row["paper"], row["value_percent"], row["ours_percent"]) == ("kth", 68, 71)
        assert row["run"]["command"] == "genrescope train a --set x=1"
        everything = json.loads(run(tmp_path, "--all", "-f", "json").stdout)["rows"]
        assert len(everything) == 319
        assert sum(row["run"] is not None for row in everything) == 1

    def test_a_table_for_people(self, tmp_path: Path) -> None:
        put(tmp_path / "a", 0.66)
        put(tmp_path / "b", 0.99, leaked=True, split={"kind": "by_segment"})
        text = run(tmp_path).stdout
        assert "1 of the 319 published figures have a run." in text
        assert text.index("kth, table 4") < text.index("below*") < text.index("LEAKED")
        assert "genrescope train a" in text
        assert "berkeley, fig 8" not in text
        assert "berkeley, fig 8" in run(tmp_path, "--all").stdout

    @pytest.mark.needs("train")
    def test_markdown_and_the_page_are_the_same(self, tmp_path: Path) -> None:
        put(tmp_path / "runs" / "a")
        page = tmp_path / "page.md"
        assert run(tmp_path / "runs", "--write", page).stdout.splitlines() == [
            str(page),
            str(page.with_suffix(".png")),
            str(page.with_suffix(".jsonl")),
        ]
        printed = run(tmp_path / "runs", "-f", "markdown").stdout
        written = page.read_text().replace("![Published figures and ours](page.png)\n\n", "")
        assert printed in written

    def test_nothing_to_compare(self, tmp_path: Path) -> None:
        assert str(run(tmp_path / "none").exception).endswith("none: no such folder")
        assert str(run(tmp_path).exception).endswith("holds no finished run")
        assert "0 of the 319" in run(tmp_path, "--all").stdout
        assert run("a", "b", "c").exit_code == 2
        assert run("a", "b", "--all").exit_code == 2

    def test_two_runs(self, tmp_path: Path) -> None:
        a, b = put(tmp_path / "a"), put(tmp_path / "b")
        put_predictions(a, "1" * 20 + "0" * 20)
        put_predictions(b, "1" * 20 + "1" * 15 + "0" * 5)
        lines = run(a, b).stdout.splitlines()
        assert lines[0] == "Both test subsets share 40 tracks."
        assert lines[1:3] == [f"A, {a}: 20 correct, 50.0 %", f"B, {b}: 35 correct, 87.5 %"]
        assert lines[3].startswith("B minus A: +37.5 points, 95 % interval +2")
        assert "only B on 15" in lines[4] and lines[4].endswith("p < 0.001")
        assert lines[5].startswith(f"{b} is significantly better")
        fields = json.loads(run(a, b, "-f", "json").stdout)
        assert fields["mcnemar"] == {"only_a": 0, "only_b": 15, "p": 2 / 2**15}

    def test_two_runs_without_a_significant_difference(self, tmp_path: Path) -> None:
        a, b = put(tmp_path / "a"), put(tmp_path / "b", leaked=True)
        put_predictions(a, "1101")
        put_predictions(b, "1110")
        done = run(a, b)
        assert "McNemar's exact test gives p = 1.000" in done.stdout
        assert "No significant difference" in done.stdout
        assert "LEAKED" in done.stderr
