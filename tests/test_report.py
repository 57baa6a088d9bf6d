"""The report of a run folder: complete, self-contained, and robust against any names."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml

from genrescope.cli.report import report
from genrescope.errors import FileError
from genrescope.evaluation import plots
from genrescope.evaluation.metrics import compute_scores
from genrescope.evaluation.predictions import Predictions, read_predictions, write_predictions
from genrescope.evaluation.report import write_report
from genrescope.evaluation.run_result import RunResult

pytestmark = pytest.mark.needs("train")

GENRES = ("blues", "<b>jazz</b>", "rock|roll")
FOLDS = ("fold-1", "fold-2", "fold-3")


def write_run(folder: Path, **more: object) -> Path:
    """A run of three folds, with names that are syntax in HTML and Markdown."""
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 10)
    probabilities = random.dirichlet(np.ones(3), 30) + 0.6 * np.eye(3)[truth]
    probabilities[4] = [0.01, 1.57, 0.02]  # wrong, with high confidence
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    tracks = tuple(f"track <{i}>" for i in range(30))
    folds = tuple(FOLDS[i % 3] for i in range(30))
    found = Predictions(GENRES, tracks, folds, truth, probabilities)
    scores = compute_scores(truth, probabilities, GENRES, resamples=50)
    fields = {
        "recipe": "try & try",
        "seed": 7,
        "split": {"kind": "folds", "folds": 3, "by_artist": True},
        "grouped_by_artist": True,
        "train_tracks": 20,
        "left_out": [{"track": "jazz.00054 & co"}],
        "folds": {
            name: {"train_tracks": 20, "test_tracks": 10, "accuracy": 0.6 + i / 10}
            for i, name in enumerate(FOLDS)
        },
        **more,
    }
    folder.mkdir()
    RunResult.model_validate({**scores.to_dict(), **fields}).write(folder)
    recipe = {"recipe": {"name": "try", "description": "```<script>"}, "data": {"name": "d & d"}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    write_predictions(found, folder)
    return folder


class Page(HTMLParser):
    """A parsed page: its words, tables, pictures, and all that a browser would load."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words, self.open, self.pictures, self.loads = "", [], [], []
        self.tables: list[list[list[str]]] = []
        self.tags: set[str] = set()
        self.feed(text)
        assert self.open == [], "a tag is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action"):
                (self.pictures if value.startswith("data:") else self.loads).append(value)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def table(self, heading: str) -> list[list[str]]:
        (table,) = (t for t in self.tables if t[0][0] == heading)
        return table


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("runs") / "run")
    plots.curves(
        {"fold-1": [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]}, folder / "curves.png"
    )
    write_report(folder)
    return folder


def test_the_page_is_one_file(run: Path) -> None:
    text = (run / "report.html").read_text()
    page = Page(text)
    assert page.loads == []
    assert not re.search(r"https?:|url\(|@import|<script|<link", text)
    # Curves, folds and reliability; the confusion matrix is a table.
    drawn = [base64.b64decode(p.removeprefix("data:image/png;base64,")) for p in page.pictures]
    files = [(run / f"{name}.png").read_bytes() for name in ("folds", "curves", "reliability")]
    assert drawn == files


def test_names_are_no_tags(run: Path) -> None:
    page = Page((run / "report.html").read_text())
    assert not {"script", "i", "0", "4"} & page.tags
    assert {"track <4>", "d & d", "<b>jazz</b>"} <= {c for t in page.tables for r in t for c in r}
    assert "try & try" in page.words
    assert "```<script>" in page.words


def test_it_describes_the_data_that_were_used(run: Path, tmp_path: Path) -> None:
    """The description of a recipe that reproduces no paper may be of other data."""
    assert "The recipe: ```<script>" not in Page((run / "report.html").read_text()).words
    row = {"paper": "kth", "table": "table 4"}
    paper = write_run(tmp_path / "paper", published=row, data={"name": "own & odd", "tracks": 30})
    write_report(paper)
    words = Page((paper / "report.html").read_text()).words
    assert "Trained and tested on 30 tracks of own & odd, " in words
    assert "The recipe: ```<script>" in words


def test_it_has_all_scores(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    page = Page((run / "report.html").read_text())
    figures = {row[0]: row[1:] for row in page.table("Metric")}
    low, high = (100 * value for value in metrics["interval"]["roc_auc"])
    assert figures["macro ROC-AUC"] == [
        f"{100 * metrics['roc_auc']:.1f} %",
        f"{low:.1f} to {high:.1f} %",
    ]
    assert len(figures) == 8
    genres = {row[0]: row[1:] for row in page.table("Genre")}
    assert genres["blues"][0] == "10"
    assert genres["blues"][2] == f"{100 * metrics['by_genre']['blues']['recall']:.1f} %"
    counts = [t for t in page.tables if t[0] == ["", *GENRES]]
    assert [[int(c or 0) for c in row[1:]] for row in counts[0][1:]] == metrics["confusion"]
    assert sum(int(c or 0) for c in counts[1][1][1:]) == pytest.approx(100, abs=1)
    assert "70.0 ± 10.0 %" in page.words
    assert "3 folds by artist" in page.words
    assert "jazz.00054 & co" in page.words
    assert ["Seed", "7"] in [row for table in page.tables for row in table]
    assert page.table("Track")[1][:3] == ["track <4>", "blues", "<b>jazz</b>"]


def test_confident_errors_are_errors_in_order(run: Path) -> None:
    _, *rows = Page((run / "report.html").read_text()).table("Track")
    found = read_predictions(run)
    wrong = np.flatnonzero(found.predicted != found.truth)
    assert len(rows) == min(10, len(wrong))
    assert {row[0] for row in rows} <= {found.tracks[i] for i in wrong}
    confidence = [float(row[3].removesuffix(" %")) for row in rows]
    assert confidence == sorted(confidence, reverse=True)


def test_markdown_has_the_same_tables(run: Path) -> None:
    text = (run / "report.md").read_text()
    page = Page((run / "report.html").read_text())
    for heading in ("Metric", "Genre", "Fold", "Track"):
        for row in page.table(heading):
            line = "| " + " | ".join(re.sub(r"([<>|])", r"\\\1", cell) for cell in row) + " |"
            assert line in text
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert pictures == ["confusion.png", "folds.png", "curves.png", "reliability.png"]
    assert all((run / name).is_file() for name in pictures)
    # The recipe's own fence does not end the block it stands in.
    assert text.count("\n````\n") == 2


def test_a_leaked_run_says_so_loudly(tmp_path: Path) -> None:
    leaked = write_run(tmp_path / "leaked", leaked=True)
    write_report(leaked)
    text = (leaked / "report.html").read_text()
    assert 'class="alarm"' in text
    assert "scores mean nothing" in Page(text).words
    assert "(leaked)" in re.search("<title>(.*)</title>", text)[1]
    assert "scores mean nothing" in (leaked / "report.md").read_text()


def test_a_run_without_a_leak_has_no_banner(run: Path) -> None:
    assert 'class="alarm"' not in (run / "report.html").read_text()
    assert "mean nothing" not in (run / "report.md").read_text()


def test_ours_is_compared_with_the_papers(tmp_path: Path) -> None:
    row = {"paper": "kth", "table": "table 3", "features": "mfcc 20", "model": "cnn"}
    folder = write_run(
        tmp_path / "run",
        accuracy=0.625,
        train_accuracy=0.9,
        published={**row, "differs": "another hop"},
    )
    write_report(folder)
    text = (folder / "report.html").read_text()
    train, validation, test = Page(text).table("Paper")[1:]
    assert test[:6] == [
        "kth, table 3",
        "random 60/20/20, whole 30 s clips",
        "mfcc 20, cnn",
        "test accuracy",
        "51.5 %",
        "62.5 %",
    ]
    assert test[7] == "+11.0"
    assert train[4:] == ["96.8 %", "90.0 %", "–", "-6.8"], "no interval on the training subset"
    assert validation[5:] == ["–", "–", "–"], "not measured"
    assert "Other differences: another hop" in text


@pytest.mark.parametrize("missing", ["recipe.yaml", "predictions.csv"])
def test_what_is_missing_is_left_out(tmp_path: Path, missing: str) -> None:
    folder = write_run(tmp_path / "run")
    (folder / missing).unlink()
    write_report(folder)
    assert Page((folder / "report.html").read_text()).table("Metric")


def test_next_to_nothing_is_enough(tmp_path: Path) -> None:
    RunResult(model="m", n=4, accuracy=0.5).write(tmp_path)
    write_report(tmp_path)
    table = Page((tmp_path / "report.html").read_text()).table("Metric")
    assert table[1] == ["accuracy", "50.0 %", "–"]
    assert [row[1:] for row in table[2:]] == [["–", "–"]] * 6


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("metrics.json", None, "no finished run"),
        ("metrics.json", "{", "can't be read"),
        ("metrics.json", "[]", "can't be read"),
        ("recipe.yaml", "a: [", "can't be read"),
        ("predictions.csv", "a,b\n1,2\n", "not the predictions of a run"),
    ],
)
def test_a_damaged_run_is_named(tmp_path: Path, name: str, content: str | None, words: str) -> None:
    folder = write_run(tmp_path / "run")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(FileError, match=words) as raised:
        write_report(folder)
    assert "\n" not in str(raised.value)
    assert not (folder / "report.html").exists()


def test_the_command_writes_both_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "run")
    report(folder)
    pages = [folder / "report.html", folder / "report.md"]
    assert capsys.readouterr().out.split() == [str(page) for page in pages]
    before = [page.read_bytes() for page in pages]
    report(folder)
    assert [page.read_bytes() for page in pages] == before, "the same run, the same pages"
