"""Recipes of every kind carried out on small data: what is used, chosen, kept and reported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

pytest.importorskip("onnx", reason="needs genrescope[train]")
pytest.importorskip("sklearn", reason="needs genrescope[lab]")

import onnx
from onnx import numpy_helper

from clips import write_spectrograms, write_wav
from genrescope.cli import app
from genrescope.datasets import Track, read_table, scan
from genrescope.errors import DatasetError, GenrescopeError, RecipeError
from genrescope.evaluation.published_comparison import compare_with_published
from genrescope.evaluation.run_result import RunResult
from genrescope.features import Frontend
from genrescope.inference import Bundle, Classifier
from genrescope.training import data as data_module
from genrescope.training.data import TrainingData
from genrescope.training.inputs import read_inputs
from genrescope.training.protocols import TrainingJob
from genrescope.training.recipe import Recipe, load_recipe
from genrescope.training.reporter import DefaultReporter
from genrescope.training.run import execute
from genrescope.training.trainers import sklearn as sklearn_trainer
from genrescope.training.trainers import torch as torch_trainer

GENRES = ("blues", "disco", "metal")
OWN = {"hop_length": 1920, "center": False, "n_bins": 544}
STORED = {"kind": "stored", "name": "net", "width": 6}
MEL = {"kind": "log_mel", "n_mels": 20, "n_fft": 1024, "hop_length": 1024}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three vectors for each of 60 tracks, those of a genre around one centre."""
    random = np.random.default_rng(0)
    ids = [f"{genre}.{number:05d}.au" for genre in GENRES for number in range(20)]
    labels = np.repeat(np.arange(3), 20)
    centres = 1.5 * np.eye(3, 6)[labels]
    rows = np.repeat(centres, 3, axis=0) + random.normal(size=(180, 6))
    path = tmp_path_factory.mktemp("table") / "net.npz"
    np.savez(
        path,
        IDS=np.repeat(ids, 3),
        X=rows.astype(np.float32),
        Y=np.repeat(np.array(GENRES)[labels], 3),
    )
    return path


@pytest.fixture(scope="module")
def vectors(table: Path) -> dict[str, Any]:
    return read_table([table]).vectors


@pytest.fixture(scope="module")
def tracks(table: Path) -> list[Track]:
    """Of each genre ten tracks for training, five for validation, five for testing."""
    subsets = ["train"] * 10 + ["validation"] * 5 + ["test"] * 5
    found = read_table([table]).tracks()
    return [replace(t, split=subsets[n % 20]) for n, t in enumerate(found)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spectrograms(tmp_path_factory.mktemp("pictures") / "mine", tracks=5)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds") / "mine"
    for genre, pitch in (("low", 110.0), ("high", 880.0)):
        (folder / genre).mkdir(parents=True)
        for number in range(5):
            write_wav(folder / genre / f"{genre}.{number}.wav", 2.5, seed=number, pitch=pitch)
    return folder


def make_recipe(**settings: Any) -> Recipe:
    """A network on stored vectors with the official split, with changed settings."""
    fields: dict[str, Any] = {
        "name": "small",
        "feature": STORED,
        "scale": "none",
        "segments": {"seconds": 30, "overlap": 0},
        "model": {"kind": "mlp", "hidden": [8]},
        "training": {"epochs": 2, "precision": "fp32"},
        "split": {"kind": "official"},
    }
    return Recipe.model_validate(fields | settings)


def classical(name: str = "LR", **settings: Any) -> Recipe:
    model = {"kind": "classical", "name": name, **settings.pop("model", {})}
    return make_recipe(model=model, **settings)


def run(recipe: Recipe, tracks: Sequence[Track], folder: Path, **more: Any) -> dict[str, Any]:
    execute(recipe, tracks, folder, **more)
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def model_of(folder: Path, part: str = "only") -> bytes:
    return (folder / "jobs" / part / "model.onnx").read_bytes()


def relabelled(tracks: Sequence[Track], subset: str) -> list[Track]:
    """The tracks with the genres of one subset exchanged."""
    other = dict(zip(GENRES, GENRES[1:] + GENRES[:1], strict=True))
    return [replace(t, genre=other[t.genre]) if t.split == subset else t for t in tracks]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TrainingJob, TrainingData]]:
    """Every job that a trainer was given, with the data."""
    given: list[tuple[TrainingJob, TrainingData]] = []
    for module in (sklearn_trainer, torch_trainer):
        train = module.Trainer.train

        def spy(
            self: Any, job: TrainingJob, data: TrainingData, *more: Any, train: Any = train
        ) -> Any:
            given.append((job, data))
            return train(self, job, data, *more)

        monkeypatch.setattr(module.Trainer, "train", spy)
    return given


class Never(DefaultReporter):
    def epoch(self, *_: Any) -> None:
        raise AssertionError("trained again")


class TestNoLeaks:
    """Nothing is fitted or chosen on the tracks that it is scored on."""

    def test_scaling_is_fitted_on_the_training_tracks(
        self, tracks: list[Track], vectors: dict[str, Any], tmp_path: Path
    ) -> None:
        recipe = make_recipe(scale="standard")
        run(recipe, tracks, tmp_path / "a", vectors=vectors)
        held = {t.id for t in tracks if t.split in ("validation", "test")}
        shifted = {name: v + 100 if name in held else v for name, v in vectors.items()}
        run(recipe, tracks, tmp_path / "b", vectors=shifted)
        assert model_of(tmp_path / "a") == model_of(tmp_path / "b")
        constants = {
            values.name.rpartition(".")[2]: numpy_helper.to_array(values)
            for values in onnx.load_from_string(model_of(tmp_path / "a")).graph.initializer
        }
        learned = np.concatenate([vectors[t.id] for t in tracks if t.split == "train"])
        np.testing.assert_allclose(constants["mean"][:, 0], learned.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(constants["deviation"][:, 0], learned.std(axis=0), rtol=1e-4)

    @pytest.mark.parametrize("model", [{}, {"pca": 3}], ids=["plain", "pca"])
    def test_a_classifier_is_fitted_on_the_training_tracks(
        self, model: dict, tracks: list[Track], vectors: dict[str, Any], tmp_path: Path
    ) -> None:
        held = {t.id for t in tracks if t.split == "test"}
        shifted = {name: v + 100 if name in held else v for name, v in vectors.items()}
        recipe = classical(model=model)
        for name, given in (("a", vectors), ("b", shifted)):
            run(recipe, tracks, tmp_path / name, vectors=given)
        assert model_of(tmp_path / "a") == model_of(tmp_path / "b")

    def test_settings_are_chosen_on_the_validation_tracks(
        self, tracks: list[Track], vectors: dict[str, Any], tmp_path: Path
    ) -> None:
        recipe = classical("DT", model={"tuned": True})
        metrics = {
            name: run(recipe, given, tmp_path / name, vectors=vectors)
            for name, given in {
                "as it is": tracks,
                "test": relabelled(tracks, "test"),
                "validation": relabelled(tracks, "validation"),
            }.items()
        }
        chosen = {name: values["chosen_settings"] for name, values in metrics.items()}
        assert chosen["as it is"]["of"] == 6
        assert chosen["test"] == chosen["as it is"]
        assert model_of(tmp_path / "test") == model_of(tmp_path / "as it is")
        assert metrics["test"]["accuracy"] < metrics["as it is"]["accuracy"] - 0.3
        assert chosen["validation"]["accuracy"] < chosen["as it is"]["accuracy"] - 0.3

    def test_folds_choose_on_a_fifth_of_their_training_tracks(
        self,
        tracks: list[Track],
        vectors: dict[str, Any],
        tmp_path: Path,
        trained: list[tuple[TrainingJob, TrainingData]],
    ) -> None:
        recipe = classical("NB", model={"tuned": True}, split={"kind": "folds", "folds": 3})
        execute(recipe, tracks, tmp_path / "run", vectors=vectors)
        jobs = [job for job, _ in trained]
        assert [job.name for job in jobs] == ["fold-1", "fold-2", "fold-3", "final"]
        for job in jobs:
            train, validation = job.train, job.validation
            assert train and validation
            assert not set(train) & set(validation)
            assert len(validation) == pytest.approx(0.2 * len(train + validation), abs=1.5)
        tested = [{track for track, *_ in rows} for rows in rows_by_fold(tmp_path / "run")]
        for test, job in zip(tested, jobs[:3], strict=True):
            assert test == {t.id for t in tracks} - set(job.train) - set(job.validation)

    def test_too_few_tracks_to_choose_on_are_refused(
        self, tracks: list[Track], vectors: dict[str, Any], tmp_path: Path
    ) -> None:
        # Two artists make two folds, and what is left to learn from is all by one.
        two = [replace(t, artist=t.id[-1]) for t in tracks if t.id.endswith(("00", "01"))]
        split = {"kind": "folds", "folds": 2, "by_artist": True}
        recipe = classical("NB", model={"tuned": True}, split=split)
        with pytest.raises(DatasetError, match="3 training tracks are too few to choose settings"):
            execute(recipe, two, tmp_path / "run", vectors=vectors)

    def test_a_candidate_that_can_not_be_fitted_is_skipped(
        self, tracks: list[Track], vectors: dict[str, Any], tmp_path: Path
    ) -> None:
        few = [t for t in tracks if t.split != "train" or int(t.id[-1]) < 5]
        recipe = classical("kNN", model={"tuned": True})  # its first: 200 neighbours, of 45 rows
        chosen = run(recipe, few, tmp_path / "run", vectors=vectors)["chosen_settings"]
        assert chosen["n_neighbors"] < 45
        with pytest.raises(GenrescopeError, match="200 neighbours are more than 45"):
            run(classical("kNN"), few, tmp_path / "plain", vectors=vectors)


def rows_by_fold(folder: Path) -> list[list[list[str]]]:
    rows = [line.split(",") for line in (folder / "predictions.csv").read_text().splitlines()[1:]]
    return [[row for row in rows if row[1] == part] for part in dict.fromkeys(r[1] for r in rows)]


class TestSplits:
    def test_the_official_one(
        self, tracks: list[Track], vectors: dict[str, Any], tmp_path: Path
    ) -> None:
        metrics = run(classical(), tracks, tmp_path / "run", vectors=vectors, name="Mine")
        assert (metrics["train_tracks"], metrics["validation_tracks"], metrics["n"]) == (30, 15, 15)
        (rows,) = rows_by_fold(tmp_path / "run")
        assert {row[0] for row in rows} == {t.id for t in tracks if t.split == "test"}
        assert metrics["split"]["kind"] == "official"
        assert metrics["data"]["name"] == "Mine"
        assert not metrics["leaked"]

    def test_lists(self, tracks: list[Track], vectors: dict[str, Any], tmp_path: Path) -> None:
        lists = tmp_path / "somewhere" / "lists"
        lists.mkdir(parents=True)
        for subset in ("train", "validation", "test"):
            names = [f"{t.genre}/{t.id}.wav\n" for t in tracks if t.split == subset]
            (lists / f"{subset}.txt").write_text("".join(names[1:]))
        recipe = classical(split={"kind": "lists", "folder": lists})
        metrics = run(recipe, tracks, tmp_path / "run", vectors=vectors)
        assert (metrics["train_tracks"], metrics["validation_tracks"], metrics["n"]) == (29, 14, 14)
        for file in ("recipe.yaml", "metrics.json", "bundle/bundle.json", "report.md"):
            assert "somewhere" not in (tmp_path / "run" / file).read_text()
        with pytest.raises(RecipeError, match=r"a split by lists needs split\.folder=FOLDER"):
            run(classical(split={"kind": "lists"}), tracks, tmp_path / "no", vectors=vectors)

    def test_test_tracks_of_training_artists_are_counted(
        self, tracks: list[Track], vectors: dict[str, Any], tmp_path: Path
    ) -> None:
        def counted(name: str, artists: list[str | None], **split: Any) -> int | None:
            signed = [replace(t, artist=a) for t, a in zip(tracks, artists, strict=True)]
            recipe = classical("NB", split={"kind": "folds", "folds": 3, **split})
            metrics = run(recipe, signed, tmp_path / name, vectors=vectors)
            found: int | None = metrics["test_tracks_of_training_artists"]
            return found

        pairs = [f"{t.genre} {n // 2}" for n, t in enumerate(tracks)]
        assert counted("none", [None] * len(tracks)) is None
        assert counted("alone", [t.id for t in tracks]) == 0
        assert 0 < (counted("by track", pairs) or 0) <= len(tracks)
        assert counted("by artist", pairs, by_artist=True) == 0

    def test_repeated_folds(
        self, tracks: list[Track], vectors: dict[str, Any], tmp_path: Path
    ) -> None:
        recipe = classical("NB", split={"kind": "folds", "folds": 3, "repeats": 2})
        metrics = run(recipe, tracks, tmp_path / "run", vectors=vectors)
        names = [f"{repeat}fold-{n}" for repeat in ("", "repeat-2-") for n in (1, 2, 3)]
        assert list(metrics["folds"]) == names
        parts = rows_by_fold(tmp_path / "run")
        everything = sorted(t.id for t in tracks)
        first, second = (
            [[row[0] for row in part] for part in parts if ("repeat" in part[0][1]) == again]
            for again in (False, True)
        )
        for deal in (first, second):
            assert sorted(track for part in deal for track in part) == everything
        assert {frozenset(p) for p in first} != {frozenset(p) for p in second}
        assert metrics["n"] == 60  # tracks, each tested twice
        right = np.mean([row[2] == row[3] for part in parts for row in part])
        assert metrics["accuracy"] == pytest.approx(right, abs=1e-4)
        for part in parts:
            fold = metrics["folds"][part[0][1]]
            assert fold["test_tracks"] == len(part)
            assert fold["train_tracks"] == 60 - len(part)
            assert fold["accuracy"] == pytest.approx(np.mean([r[2] == r[3] for r in part]))
        assert (tmp_path / "run/folds.png").is_file()

    def test_by_segment_is_marked_as_leaking_and_compared_with_nothing(
        self, tracks: list[Track], vectors: dict[str, Any], tmp_path: Path
    ) -> None:
        row = {
            "paper": "berkeley",
            "table": "fig 6",
            "features": "vggish embedding 31x128 = 3968",
            "model": "kNN",
        }
        clean = classical("kNN", model={"n_neighbors": 1}, split={"kind": "random"}, published=row)
        leaky = clean.model_copy(
            update={
                "split": clean.split.model_copy(
                    update={"kind": "by_segment", "i_know_this_leaks": True}
                )
            }
        )
        # Each track has a sound of its own here and its genre has none, as with real recordings
        # and their artists: only a model trained on other segments of a track can classify it.
        random = np.random.default_rng(1)
        own = {
            t.id: (random.normal(size=6) + 0.1 * random.normal(size=(3, 6))).astype(np.float32)
            for t in tracks
        }
        metrics = {
            name: run(recipe, tracks, tmp_path / "runs" / name, vectors=own)
            for name, recipe in (("clean", clean), ("leaky", leaky))
        }
        assert metrics["clean"]["accuracy"] < 0.6
        assert metrics["leaky"]["accuracy"] > 0.9
        assert metrics["leaky"]["leaked"] is True and metrics["clean"]["leaked"] is False
        assert metrics["leaky"]["n"] == 36  # a fifth of 180 segments
        page = (tmp_path / "runs/leaky/report.md").read_text()
        assert "LEAKED" in page.split("##")[0]
        assert "LEAKED" in (tmp_path / "runs/leaky/report.html").read_text()
        assert "LEAKED" not in (tmp_path / "runs/clean/report.md").read_text()
        results = compare_with_published(tmp_path / "runs")
        assert [r.run.folder.name for r in results.rows if r.run] == ["clean"]
        assert [leak.run.folder.name for leak in results.leaks] == ["leaky"]

    def test_a_segment_is_its_window_cut_and_no_more(
        self, pictures: Path, tmp_path: Path, trained: list[tuple[TrainingJob, TrainingData]]
    ) -> None:
        recipe = make_recipe(
            feature={"kind": "geometric_mel", "n_mels": 24, **OWN},
            scale="track",
            segments={"seconds": 5, "overlap": 0},
            split={"kind": "by_segment", "i_know_this_leaks": True},
            model={"kind": "cnn", "channels": [4]},
        )
        execute(recipe, scan(pictures), tmp_path / "run")
        ((_, data),) = trained
        frontend = recipe.frontend
        (window,) = frontend.windows(pictures / "low/low.00000.png")
        segments = frontend.segments_of(window)
        pieces = [name for name in data.tracks if name.startswith("low.00000#")]
        assert len(pieces) == len(segments) == 6
        for number, segment in enumerate(segments):
            (piece,) = data.features[f"low.00000#{number:02d}"].windows
            np.testing.assert_array_equal(piece.values, segment.values)


class TestFigures:
    def test_the_accuracy_of_every_subset_is_reported(
        self, tracks: list[Track], vectors: dict[str, Any], tmp_path: Path
    ) -> None:
        metrics = run(
            classical("DT", model={"max_depth": 20}),
            tracks,
            tmp_path / "run",
            vectors=vectors,
            name="Mine",
            command="genrescope train small",
        )
        assert metrics["train_accuracy"] == 1.0  # a deep tree fits its training tracks exactly
        assert 0.4 < metrics["validation_accuracy"] < 1
        assert metrics["command"] == "genrescope train small"
        assert metrics["data"]["name"] == "Mine"
        assert metrics["data"]["tracks"] == 60
        assert metrics["seed"] == 0

    def test_the_train_accuracy_is_that_of_the_bundle(
        self, tracks: list[Track], vectors: dict[str, Any], tmp_path: Path
    ) -> None:
        metrics = run(
            make_recipe(aggregation="majority", training={"epochs": 3, "precision": "fp32"}),
            tracks,
            tmp_path / "run",
            vectors=vectors,
        )
        classifier = Classifier.load(tmp_path / "run")
        assert classifier.manifest.aggregation == "majority"
        for subset, score in (("train", "train_accuracy"), ("test", "accuracy")):
            there = [t for t in tracks if t.split == subset]
            right = [classifier.predict(vectors[t.id]).genre == t.genre for t in there]
            assert metrics[score] == pytest.approx(np.mean(right), abs=1e-4)

    @pytest.mark.parametrize("kind", ["pictures", "sounds"])
    def test_a_classifier_takes_pooled_features(
        self, kind: str, pictures: Path, sounds: Path, tmp_path: Path
    ) -> None:
        data = {"pictures": pictures, "sounds": sounds}[kind]
        recipe = classical(
            feature={**MEL, **OWN, "n_fft": 2048} if kind == "pictures" else MEL,
            segments={"seconds": 2, "overlap": 0.5},
            pool=["mean", "std"],
            split={"kind": "random"},
        )
        metrics = run(recipe, scan(data), tmp_path / "run")
        assert metrics["accuracy"] == 1.0
        manifest = Bundle.load(tmp_path / "run").manifest
        assert (manifest.frontend.pool, manifest.frontend.shape) == (("mean", "std"), (40, 1))
        sample = next(data.glob("low/*"))
        assert Classifier.load(tmp_path / "run").predict(sample).genre == "low"


class TestResuming:
    @pytest.mark.parametrize("split", ["official", "folds"])
    def test_a_classifier_is_not_fitted_again(
        self,
        split: str,
        tracks: list[Track],
        vectors: dict[str, Any],
        tmp_path: Path,
        trained: list[tuple[TrainingJob, TrainingData]],
    ) -> None:
        recipe = classical("NB", model={"tuned": True}, split={"kind": split, "folds": 3})
        folder = tmp_path / "run"
        before = run(recipe, tracks, folder, vectors=vectors)
        last = "only" if split == "official" else "final"
        trained.clear()
        # Everything is there but one job, as after a kill.
        shutil.rmtree(folder / "jobs" / last)
        (folder / "metrics.json").unlink()
        assert run(recipe, tracks, folder, vectors=vectors) == before
        assert [job.name for job, _ in trained] == [last]
        assert before["chosen_settings"]["of"] == 6

    def test_what_was_computed_once_is_read(
        self, sounds: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recipe = classical(
            feature={**MEL, "n_mels": 21},
            segments={"seconds": 2, "overlap": 0},
            pool=["mean"],
            split={"kind": "random"},
        )
        before = set(cache.rglob("*.npy"))
        first = run(recipe, scan(sounds), tmp_path / "a")
        # The features of all tracks; of some, fingerprints too, where no test has cached them yet.
        assert len(set(cache.rglob("*.npy")) - before) >= 10

        def never(*_: object) -> None:
            raise AssertionError("computed again")

        with monkeypatch.context() as patch:
            patch.setattr(Frontend, "windows", never)
            again = run(recipe, scan(sounds), tmp_path / "b")
        assert again == first
        assert model_of(tmp_path / "a") == model_of(tmp_path / "b")


class TestInputs:
    @pytest.mark.parametrize("kind", ["network", "classifier"])
    def test_changed_copies_are_made_of_training_tracks_alone(
        self,
        kind: str,
        sounds: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        trained: list[tuple[TrainingJob, TrainingData]],
    ) -> None:
        settings: dict[str, Any] = {
            "feature": MEL,
            "segments": {"seconds": 2, "overlap": 0},
            "split": {"kind": "random"},
            "augmentation": {"waveform": {"semitones": 1}},
        }
        model = {"kind": "cnn", "channels": [4]}
        recipe = make_recipe(model=model, **settings)
        if kind == "classifier":
            recipe = classical(pool=["mean"], **settings)
        copied: list[str] = []
        copies = data_module.changed_copies

        def spy(frontend: Any, track: Track, *more: Any) -> Any:
            copied.append(track.id)
            return copies(frontend, track, *more)

        monkeypatch.setattr(data_module, "changed_copies", spy)
        execute(recipe, scan(sounds), tmp_path / "run")
        ((job, data),) = trained
        assert copied == list(job.train) == list(data.copies)
        assert len(copied) == 6
        for track, changed in data.copies.items():
            assert len(changed) == 3
            for copy in changed:
                assert copy.frames(data.frontend).shape == data.frames(track).shape
                assert not np.array_equal(copy.frames(data.frontend), data.frames(track))
        if kind == "network":
            tensors = torch_trainer.training_tracks(job, data)
            assert all(len(track.copies) == 3 for track in tensors)
        plain = recipe.model_copy(update={"augmentation": type(recipe.augmentation)()})
        execute(plain, scan(sounds), tmp_path / "plain")
        assert model_of(tmp_path / "plain") != model_of(tmp_path / "run")

    def test_what_is_stored_has_no_copies(
        self,
        pictures: Path,
        tracks: list[Track],
        vectors: dict[str, Any],
        tmp_path: Path,
        trained: list[tuple[TrainingJob, TrainingData]],
    ) -> None:
        waveform = {"waveform": {}}
        for name, recipe, given in (
            ("vectors", make_recipe(augmentation=waveform), tracks),
            (
                "pictures",
                make_recipe(
                    feature={"kind": "geometric_mel", "n_mels": 24, **OWN},
                    model={"kind": "cnn", "channels": [4]},
                    split={"kind": "random"},
                    segments={"seconds": 3},
                    augmentation=waveform,
                ),
                scan(pictures),
            ),
        ):
            execute(recipe, given, tmp_path / name, vectors=vectors)
            (job, data) = trained.pop()
            assert not any(track.copies for track in torch_trainer.training_tracks(job, data))

    def test_a_teacher_is_used_on_training_tracks_alone(
        self, tracks: list[Track], vectors: dict[str, Any], tmp_path: Path
    ) -> None:
        random = np.random.default_rng(0)
        targets = {t.id: random.normal(size=(2, 5)).astype(np.float32) for t in tracks}
        models = {
            name: run(make_recipe(), tracks, tmp_path / name, vectors=vectors, teacher=teacher)
            and model_of(tmp_path / name)
            for name, teacher in {
                "none": None,
                "one": targets,
                "of test tracks too": {
                    t.id: targets[t.id] * (1 if t.split == "train" else 50) for t in tracks
                },
            }.items()
        }
        assert models["none"] != models["one"]
        assert models["one"] == models["of test tracks too"]

    def test_tracks_without_vectors_are_left_out_and_named(
        self, tracks: list[Track], vectors: dict[str, Any], tmp_path: Path
    ) -> None:
        left_out: list[tuple[str, str]] = []

        class LeftOut(DefaultReporter):
            def left_out(self, track: str, reason: str) -> None:
                left_out.append((track, reason))

        some = {name: v for name, v in vectors.items() if not name.endswith("7")}
        metrics = run(classical(), tracks, tmp_path / "run", vectors=some, reporter=LeftOut())
        missing = [t.id for t in tracks if t.id.endswith("7")]
        assert left_out == [(name, "no vectors are stored for it") for name in missing]
        assert metrics["left_out"] == [{"track": t, "reason": reason} for t, reason in left_out]
        assert metrics["train_tracks"] + metrics["validation_tracks"] + metrics["n"] == 54

    def test_a_genre_without_readable_tracks_is_left_out(
        self, tracks: list[Track], vectors: dict[str, Any], tmp_path: Path
    ) -> None:
        without = {name: v for name, v in vectors.items() if "disco" not in name}
        metrics = run(classical(), tracks, tmp_path / "run", vectors=without)
        left_out = [entry["track"] for entry in metrics["left_out"]]
        assert left_out == [t.id for t in tracks if t.genre == "disco"]
        assert list(metrics["by_genre"]) == ["blues", "metal"]
        assert Classifier.load(tmp_path / "run").genres == ["blues", "metal"]
        blues = {name: v for name, v in vectors.items() if "blues" in name}
        with pytest.raises(DatasetError, match=r"all tracks are of one genre \(blues\)"):
            run(classical(), tracks, tmp_path / "one", vectors=blues)
        with pytest.raises(DatasetError, match="none of the tracks can be used"):
            run(classical(), tracks, tmp_path / "none", vectors={})

    @pytest.mark.parametrize(
        ("model", "words"),
        [
            ({}, "model: no kind given; there are: classical"),
            ({"kind": "classical", "tuned": True}, "no classifier 'None'; there are: LR"),
            ({"kind": "classical"}, "missing 1 required keyword-only argument: 'name'"),
            ({"kind": "mlp", "tuned": True}, "no setting 'tuned'; there are: hidden, dropout"),
        ],
    )
    def test_a_model_that_is_wrong_is_one_line(
        self,
        model: dict,
        words: str,
        tracks: list[Track],
        vectors: dict[str, Any],
        tmp_path: Path,
    ) -> None:
        with pytest.raises(RecipeError, match=words):
            run(make_recipe(model=model), tracks, tmp_path / "run", vectors=vectors)

    def test_folds_have_no_validation_subset(
        self, tracks: list[Track], vectors: dict[str, Any], tmp_path: Path
    ) -> None:
        recipe = classical("NB", split={"kind": "folds"})
        with pytest.raises(RecipeError, match="a split into folds has no validation subset"):
            execute(recipe, tracks, tmp_path / "run", vectors=vectors, scored="validation")


def genrescope(*words: str | Path) -> Result:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(done.exception, GenrescopeError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done


FAMILY = """
name: fam
description: two by two
seed: 0
feature: {kind: stored, name: net, width: 6}
scale: none
segments: {seconds: 30, overlap: 0}
model: {kind: classical, name: LR}
split: {kind: random}
variants:
  classifier:
    LR: {model: {name: LR}}
    NB: {model: {name: NB}}
  pca:
    plain: {}
    two: {model: {pca: 2}}
"""


class TestCommand:
    @pytest.fixture(scope="class")
    @classmethod
    def family(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        path = tmp_path_factory.mktemp("family") / "family.yaml"
        path.write_text(FAMILY)
        return path

    @pytest.fixture(scope="class")
    @classmethod
    def finished(cls, family: Path, table: Path) -> tuple[Path, Result]:
        out = family.parent / "out"
        return out, genrescope("train", family, "--features", table, "--out", out)

    def test_a_family_is_trained_member_by_member(self, finished: tuple[Path, Result]) -> None:
        out, done = finished
        metrics = {
            path.parent.relative_to(out).as_posix(): json.loads(path.read_text())
            for path in out.rglob("metrics.json")
        }
        members = ["LR/plain", "LR/two", "NB/plain", "NB/two"]
        assert sorted(metrics) == members
        for member in members:
            assert metrics[member]["recipe"] == f"fam/{member}"
            assert f"fam/{member}" in done.stdout
            # What to type again, and nothing of where it lies.
            command = f"genrescope train family.yaml/{member} --features net.npz"
            assert metrics[member]["command"] == command
            assert metrics[member]["data"]["name"] == "net.npz"
        assert Bundle.load(out / "NB/two").manifest.provenance["recipe"]["model"]["pca"] == 2

    def test_finished_members_are_not_trained_again(
        self,
        finished: tuple[Path, Result],
        family: Path,
        table: Path,
        trained: list[tuple[TrainingJob, TrainingData]],
    ) -> None:
        out, first = finished
        shutil.rmtree(out / "NB/two")
        again = genrescope("train", family, "--features", table, "--out", out)
        assert len(trained) == 1
        assert (out / "NB/two/metrics.json").is_file()
        assert again.stdout == first.stdout

    def test_a_branch_and_a_member(self, family: Path, table: Path, tmp_path: Path) -> None:
        genrescope("train", f"{family}/NB", "--features", table, "--out", tmp_path / "branch")
        found = [p.parent.name for p in (tmp_path / "branch").glob("*/metrics.json")]
        assert sorted(found) == ["plain", "two"]
        genrescope("train", f"{family}/NB/two", "--features", table, "--out", tmp_path / "one")
        assert (tmp_path / "one/metrics.json").is_file()
        with pytest.raises(RecipeError, match=r"a family of \(LR\|NB\)/\(plain\|two\)"):
            genrescope("train", f"{family}/SVM", "--features", table, "--out", tmp_path / "none")

    def test_without_out_a_run_lies_under_its_recipes_name(
        self, family: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        genrescope("train", f"{family}/LR/two", "--features", table)
        assert (tmp_path / "runs/fam/LR/two/metrics.json").is_file()

    def test_a_papers_plantakes_over_the_hop_of_stored_spectrograms(
        self, pictures: Path, tmp_path: Path
    ) -> None:
        done = genrescope(
            "train", "kth-table4/cnn/mfcc", "--data", pictures, "--out", tmp_path / "run",
            "--set", "training.epochs=1",
        )  # fmt: skip
        assert "stored spectrograms: hop_length 1920 instead of the recipe's" in done.stderr
        assert done.stderr.count("hop_length") == 1
        assert "epoch 1 of 1" in done.stderr
        stored = yaml.safe_load((tmp_path / "run/recipe.yaml").read_text())["recipe"]
        assert stored["feature"] == {
            "kind": "mfcc", "n_mfcc": 20, "sample_rate": 22050, "n_fft": 2048, **OWN,
        }  # fmt: skip
        metrics = json.loads((tmp_path / "run/metrics.json").read_text())
        assert metrics["recipe"] == "kth-table4/cnn/mfcc"
        assert metrics["published"]["table"] == "table 4"
        assert metrics["command"] == (
            "genrescope train kth-table4/cnn/mfcc --data mine --set training.epochs=1"
        )
        manifest = Bundle.load(tmp_path / "run").manifest
        assert (manifest.aggregation, manifest.frontend.shape) == ("majority", (20, 34))

    def test_a_folder_of_lists_is_named_without_its_place(
        self, tracks: list[Track], table: Path, family: Path, tmp_path: Path
    ) -> None:
        lists = tmp_path / "somewhere" / "lists"
        lists.mkdir(parents=True)
        for subset in ("train", "validation", "test"):
            names = [f"{t.genre}/{t.id}.au\n" for t in tracks if t.split == subset]
            (lists / f"{subset}.txt").write_text("".join(names))
        genrescope(
            "train", f"{family}/NB/plain", "--features", table, "--out", tmp_path / "run",
            "--set", "split.kind=lists", "--set", f"split.folder={lists}",
        )  # fmt: skip
        metrics = json.loads((tmp_path / "run/metrics.json").read_text())
        assert metrics["command"].endswith("--set split.kind=lists --set split.folder=lists")
        assert "somewhere" not in (tmp_path / "run/bundle/bundle.json").read_text()

    def test_a_leaking_planwarns(self, table: Path, tmp_path: Path) -> None:
        done = genrescope(
            "train", "leakage/by-segment", "--features", table, "--out", tmp_path / "run",
            "--set", "feature.kind=stored", "--set", "feature.name=net",
            "--set", "feature.width=6", "--set", "pool=[]", "--set", "scale=none",
        )  # fmt: skip
        assert "this split leaks" in done.stderr

    def test_without_data_there_is_one_line(self, family: Path) -> None:
        with pytest.raises(DatasetError, match=r"--data \(or --features that name genres\)"):
            genrescope("train", f"{family}/NB/plain")

    def test_old_names_are_one_line_on_stderr(
        self, family: Path, table: Path, tmp_path: Path
    ) -> None:
        old = tmp_path / "old.yaml"
        old.write_text(family.read_text().replace("seed: 0", "seed: 0\nvoting: geometric"))
        done = genrescope("train", old, "--features", table, "--out", tmp_path / "run")
        lines = [line for line in done.stderr.splitlines() if "version 0.1" in line]
        assert len(lines) == 1, "once, though the family has four members"
        assert lines[0].startswith("old.yaml: settings of version 0.1, refused from version 0.3 on")
        assert "FutureWarning" not in done.stderr
        assert RunResult.read(tmp_path / "run/NB/two").settings["aggregation"] == "mean_logits"

    def test_python_does_what_the_command_does(self, pictures: Path, tmp_path: Path) -> None:
        """A recipe that has to give way to the data does so wherever it is carried out."""
        changes = ["training.epochs=1", "training.precision=fp32", "split.by_artist=true"]
        options = [word for change in changes for word in ("--set", change)]
        genrescope(
            "train", "kth-table4/cnn/mfcc", "--data", pictures, "--out", tmp_path / "a", *options
        )
        inputs = read_inputs(pictures)
        with pytest.warns(UserWarning) as caught:
            execute(
                load_recipe("kth-table4/cnn/mfcc", changes),
                inputs.tracks,
                tmp_path / "b",
                name=inputs.name,
            )
        assert [str(warning.message).partition(":")[0] for warning in caught] == [
            "stored spectrograms",
            "no artists are known",
        ]
        recipes, models = (
            [(tmp_path / run / file).read_bytes() for run in ("a", "b")]
            for file in ("recipe.yaml", "bundle/model.onnx")
        )
        assert recipes[0] == recipes[1]
        assert models[0] == models[1]
