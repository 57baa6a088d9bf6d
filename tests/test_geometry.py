"""Genre geometry: its arithmetic by hand and against scikit-learn; the command end to end."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner, Result

pytest.importorskip("sklearn", reason="needs genrescope[lab]")

from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_samples
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from clips import write_spectrograms
from genrescope.cli.geometry import geometry
from genrescope.datasets import scan
from genrescope.errors import DatasetError, FileError, GenrescopeError
from genrescope.evaluation import geometry as measures
from genrescope.evaluation.bootstrap import mean
from genrescope.evaluation.geometry import EmbeddedTracks
from genrescope.inference.bundle import Bundle
from genrescope.training.recipe import load_recipe
from genrescope.training.run import execute

# Two tracks of genre 0 in one direction, one of genre 1 at a right angle, one opposite.
SQUARE = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
LABELS = np.array([0, 0, 1, 1])

LEARNING = """
extends: _leiden
name: learning
feature: {n_mels: 64}
segments: {seconds: 14, overlap: 0}
model: {encoder: mobilenet_v2, weights_seed: 0, hidden: [16, 8], trained_modules: 0}
training: {epochs: 1, batch_size: 4}
published: null
"""
FOLDS = """
extends: _paper
name: folded
feature: {kind: log_mel, n_mels: 20, n_fft: 2048, hop_length: 1920, center: false, n_bins: 544}
segments: {seconds: 14, overlap: 0}
model: {kind: mlp, hidden: [8]}
training: {epochs: 1, batch_size: 4}
split: {kind: folds, folds: 2}
published: null
"""
DEPTHS = {"none": 224 * 224, "immediate": 1280, "deep": 16, "shallow": 8}


def cloud(n: int = 60, size: int = 7, genres: int = 2, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Vectors of genres around centres of their own, all far from 0."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % genres
    centres = random.normal(size=(genres, size)) + 3
    return centres[labels] + 0.8 * random.normal(size=(n, size)), labels


class TestCosines:
    def test_by_hand(self) -> None:
        found = measures.cosines(measures.gram(SQUARE))
        expected = [[1, 1, 0, -1], [1, 1, 0, -1], [0, 0, 1, 0], [-1, -1, 0, 1]]
        np.testing.assert_allclose(found, expected, atol=1e-15)
        means = measures.between_genres(found, LABELS, 2)
        # Genre 0: its one pair; genre 1: a right angle; between: 0, -1, 0, -1.
        np.testing.assert_allclose(means, [[1, -0.5], [-0.5, 0]], atol=1e-15)
        assert measures.within_and_between(found, LABELS) == pytest.approx((0.5, -0.5))

    def test_a_genre_of_one_track_has_no_pair(self) -> None:
        means = measures.between_genres(measures.cosines(measures.gram(SQUARE)), LABELS // 2, 3)
        assert np.isnan(means[1:, 1:]).all() and means[0, 0] == pytest.approx(-1 / 6)
        means = measures.between_genres(np.eye(3), np.array([0, 0, 1]), 2)
        assert np.isnan(means[1, 1]) and means[0, 0] == 0

    def test_silence_is_like_nothing(self) -> None:
        found = measures.cosines(measures.gram(np.array([[0.0, 0.0], [1.0, 1.0]])))
        np.testing.assert_allclose(found, np.eye(2))

    def test_as_scikit_learn_has_them_raw_and_centred(self) -> None:
        vectors, _ = cloud(size=5000)
        products = measures.gram(vectors.astype(np.float32))
        np.testing.assert_allclose(
            measures.cosines(products), cosine_similarity(vectors), atol=1e-6
        )
        np.testing.assert_allclose(
            measures.cosines(measures.centred(products)),
            cosine_similarity(vectors - vectors.mean(axis=0)),
            atol=1e-5,
        )

    def test_centred_is_the_same_wherever_the_vectors_lie(self) -> None:
        vectors, _ = cloud()
        here, there = (measures.centred(measures.gram(v)) for v in (vectors, vectors + 5))
        np.testing.assert_allclose(here, there, atol=1e-8)
        assert np.abs(here.sum(axis=0)).max() < 1e-9
        raw = [measures.cosines(measures.gram(v)) for v in (vectors, vectors + 5)]
        assert raw[1].min() > raw[0].min(), "raw ones crowd towards 1"

    def test_equal_vectors_have_no_direction_around_their_mean(self) -> None:
        products = measures.centred(measures.gram(np.full((4, 3), 0.1)))
        np.testing.assert_array_equal(measures.cosines(products), np.eye(4))

    def test_gram_in_parts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        vectors, _ = cloud(n=10, size=23)
        monkeypatch.setattr(measures, "_AT_ONCE", 50)
        np.testing.assert_allclose(measures.gram(vectors), vectors @ vectors.T, rtol=1e-12)


class TestFigures:
    def test_silhouettes_by_hand(self) -> None:
        found = measures.silhouettes(measures.cosines(measures.gram(SQUARE)), LABELS)
        # First: a = 0, b = (1 + 2) / 2. Third: a = 1 and b = 1. Fourth: a = 1, b = 2.
        np.testing.assert_allclose(found, [1, 1, 0, 0.5])

    @pytest.mark.parametrize("genres", [2, 5])
    def test_silhouettes_as_scikit_learn_has_them(self, genres: int) -> None:
        vectors, labels = cloud(genres=genres)
        labels = np.append(labels, genres + 3)  # one that is alone, and a number left out
        vectors = np.append(vectors, vectors[:1] + 1, axis=0)
        found = measures.silhouettes(measures.cosines(measures.gram(vectors)), labels)
        np.testing.assert_allclose(found, silhouette_samples(vectors, labels, metric="cosine"))

    def test_one_genre_has_no_silhouette(self) -> None:
        with pytest.raises(ValueError, match="two genres or more"):
            measures.silhouettes(np.eye(2), np.zeros(2, int))

    @pytest.mark.parametrize("k", [1, 5])
    def test_neighbours_as_scikit_learn_has_them(self, k: int) -> None:
        vectors, labels = cloud(seed=3)  # two genres and an odd k: no ties
        nearest = KNeighborsClassifier(k, metric="cosine")
        predicted = cross_val_predict(nearest, vectors, labels, cv=LeaveOneOut())
        correct = measures.predicted_by_neighbours(
            measures.cosines(measures.gram(vectors)), labels, k=k
        )
        np.testing.assert_array_equal(correct, predicted == labels)
        assert 0 < correct.sum() < len(correct)

    def test_of_equally_frequent_genres_the_nearest_is_predicted(self) -> None:
        #           itself, then one of genre 1, two of 0, one of 1, and one of 2: two of each
        row = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]
        cosines = np.full((6, 6), -1.0)
        cosines[0] = row
        labels = np.array([1, 1, 0, 0, 1, 2])
        assert measures.predicted_by_neighbours(cosines, labels)[0]
        labels = np.array([0, 1, 0, 0, 1, 2])
        assert not measures.predicted_by_neighbours(cosines, labels)[0]

    def test_tracks_of_the_same_artist_are_no_neighbours(self) -> None:
        cosines = np.array([[1, 0.9, 0.1], [0.9, 1, 0.1], [0.1, 0.1, 1]])
        labels = np.array([0, 0, 1])
        assert measures.predicted_by_neighbours(cosines, labels, k=1).tolist() == [
            True,
            True,
            False,
        ]
        by = measures.predicted_by_neighbours(cosines, labels, k=1, groups=["a", "a", "b"])
        assert by.tolist() == [False, False, False]
        alone = measures.predicted_by_neighbours(cosines, labels, k=5, groups=["a", "a", "a"])
        assert not alone.any(), "no neighbour is left"

    def test_an_order_of_tracks_changes_nothing(self) -> None:
        vectors, labels = cloud(genres=4, seed=1)
        order = np.random.default_rng(0).permutation(len(labels))
        for kind in (measures.gram, lambda v: measures.centred(measures.gram(v))):
            one, other = (measures.cosines(kind(v)) for v in (vectors, vectors[order]))
            for figure in (measures.silhouettes, measures.predicted_by_neighbours):
                np.testing.assert_allclose(figure(one, labels)[order], figure(other, labels[order]))
            np.testing.assert_allclose(
                measures.between_genres(one, labels, 4),
                measures.between_genres(other, labels[order], 4),
            )

    def test_an_interval_draws_whole_groups(self) -> None:
        values = np.repeat([0.0, 1.0], 50)
        alone = mean(values, [str(n) for n in range(100)])
        assert alone.value == 0.5
        assert (alone.low, alone.high) == pytest.approx((0.4, 0.6), abs=0.015)
        tied = mean(values, ["a"] * 50 + ["b"] * 50)
        assert (tied.low, tied.high) == (0, 1), "two artists are two groups"


class TestMaps:
    def test_components_as_scikit_learn_has_them(self) -> None:
        vectors, _ = cloud()
        found = measures.components(measures.centred(measures.gram(vectors)), 3)
        expected = PCA(3, svd_solver="full").fit_transform(vectors)
        np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-9)
        assert (found[np.abs(found).argmax(axis=0), range(3)] > 0).all()

    def test_a_seed_gives_one_map_and_genres_lie_together(self) -> None:
        vectors, labels = cloud(genres=2, seed=2)
        products = measures.centred(measures.gram(vectors + 5 * labels[:, None]))
        positions = measures.tsne_map(products, seed=1)
        np.testing.assert_array_equal(positions, measures.tsne_map(products, seed=1))
        nearest = KNeighborsClassifier(1)
        predicted = cross_val_predict(nearest, positions, labels, cv=LeaveOneOut())
        assert (predicted == labels).mean() > 0.95

    def test_aligning_keeps_distances_and_undoes_a_rotation(self) -> None:
        positions = np.random.default_rng(0).normal(size=(9, 2))
        mirrored = positions @ np.array([[0.6, 0.8], [0.8, -0.6]]) + 4
        np.testing.assert_allclose(
            measures.align(mirrored, positions), positions - positions.mean(axis=0), atol=1e-12
        )

    def test_a_long_map_lies_along_the_diagonal(self) -> None:
        positions = np.array([[0.0, 0.0], [4.0, 0.0], [2.0, 0.1], [2.0, -0.1]])
        found = measures.along_diagonal(positions)
        ends = np.abs(found[0] - found[1])
        np.testing.assert_allclose(ends, [np.sqrt(8), np.sqrt(8)], atol=1e-12)


class TestMeasure:
    def test_each_subset_by_itself_and_no_artists(self) -> None:
        vectors, labels = cloud(n=40, genres=2)
        tracks = EmbeddedTracks(
            tuple(map(str, range(40))),
            tuple("ab"[label] for label in labels),
            ("test",) * 30 + ("training",) * 10,
            tuple(map(str, range(40))),
            artists_known=False,
        )
        (layer,) = measures.measure([("deep", vectors)], tracks, maps=False)
        assert [(m.cosine, m.subset, m.n) for m in layer.scores] == [
            (kind, *subset)
            for kind in ("raw", "centred")
            for subset in (("test", 30), ("training", 10))
        ]
        assert layer.positions is None
        assert all(m.knn_other_artists is None for m in layer.scores)
        own = measures.cosines(measures.gram(vectors[:30]))
        assert layer.scores[0].silhouette.value == pytest.approx(
            measures.silhouettes(own, labels[:30]).mean()
        )

    def test_one_genre_is_refused(self) -> None:
        with pytest.raises(DatasetError, match="two genres or more; there is: jazz"):
            EmbeddedTracks(("1",), ("jazz",), ("test",), ("1",), artists_known=False)

    def test_single_tracks_of_genres_are_refused(self) -> None:
        ids, genres = ("1", "2", "3", "4"), ("pop", "jazz", "rock", "blues")
        alone = "two tracks of each genre; there is one of: blues, jazz, pop, rock"
        with pytest.raises(DatasetError, match=alone):
            EmbeddedTracks(ids, genres, ("test",) * 4, ids, artists_known=False)
        assert measures.check_genres([*genres, "jazz"]) == ["blues", "pop", "rock"]

    def test_a_subset_of_single_tracks_has_no_scores(self) -> None:
        vectors, labels = cloud(n=10, genres=2)
        ids, genres = tuple(map(str, range(10))), tuple("ab"[label] for label in labels)
        subsets = ("test",) * 2 + ("training",) * 8
        tracks = EmbeddedTracks(ids, genres, subsets, ids, artists_known=False)
        (layer,) = measures.measure([("deep", vectors)], tracks, maps=False)
        assert {(m.subset, m.n) for m in layer.scores} == {("training", 8)}
        assert all(np.isfinite([m.within, m.between]).all() for m in layer.scores)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spectrograms(tmp_path_factory.mktemp("data"), tracks=8)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    (folder / "learning.yaml").write_text(LEARNING)
    execute(load_recipe(folder / "learning.yaml"), scan(data), folder / "run", name="mine")
    return folder / "run"


def call(*words: object) -> Result:
    app = typer.Typer()
    app.command()(geometry)
    return CliRunner().invoke(app, [str(word) for word in words])


def fails(*words: object) -> str:
    """The one line of a known error."""
    found = call(*words)
    assert isinstance(found.exception, GenrescopeError), found.output
    assert "\n" not in str(found.exception)
    return str(found.exception)


def tracks_of(run: Path) -> list[str]:
    return [row["track"] for row in csv.DictReader((run / "predictions.csv").open())]


class TestCommand:
    def test_a_run_end_to_end(self, data: Path, run: Path, tmp_path: Path) -> None:
        table = tmp_path / "artists.csv"
        rows = [f"{track.id},{int(track.id[-1]) // 2}" for track in scan(data)]
        table.write_text("\n".join(["track,artist", *rows]))
        out = tmp_path / "out"
        done = call(run, "--data", data, "--artists", table, "--out", out, "-f", "json")
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert found == json.loads((out / "geometry.json").read_text())
        assert {layer["layer"]: layer["size"] for layer in found["layers"]} == DEPTHS
        ids = tracks_of(run)
        assert found["tracks"] == {"test": len(ids)}, "by default those it was tested on"
        for layer in found["layers"]:
            assert [score["cosine"] for score in layer["scores"]] == ["raw", "centred"]
            for score in layer["scores"]:
                low, high = score["knn_accuracy"]["interval"]
                assert low <= score["knn_accuracy"]["value"] <= high
                assert score["knn_accuracy_other_artists"] is not None
            assert layer["mean_cosine"]["raw"][0][1] == layer["mean_cosine"]["raw"][1][0]
        positions = list(csv.DictReader((out / "geometry-tracks.csv").open()))
        assert sorted(row["track"] for row in positions) == sorted(ids)
        assert {"none_x", "shallow_y"} <= positions[0].keys()
        pairs = list(csv.DictReader((out / "geometry-pairs.csv").open()))
        assert len(pairs) == 4 * 2 * 3
        for name in ("tsne", "cosines", "centred"):
            with Image.open(out / f"geometry-{name}.png") as picture:
                assert len(picture.convert("RGB").getcolors(2**24)) > 20, "something is drawn"
        page = (out / "report.html").read_text()
        assert page.count("data:image/png;base64") == 3 and "http" not in page

    def test_all_tracks_are_marked(self, data: Path, run: Path) -> None:
        words = (run, "--data", data, "--tracks", "all", "--layer", "deep")
        found = json.loads(call(*words, "-f", "json").stdout)
        new = len(tracks_of(run))
        assert found["tracks"] == {"test": new, "training or validation": 16 - new}
        assert found["alarms"]
        output = " ".join(call(*words).output.split())
        assert f"trained or validated on {16 - new} of 16 tracks" in output

    def test_a_bundle_that_does_not_list_its_tracks(
        self, data: Path, run: Path, tmp_path: Path
    ) -> None:
        bundle = Bundle.load(run)
        manifest = bundle.manifest.model_copy(update={"training_tracks": None})
        replace(bundle, manifest=manifest).save(tmp_path)
        words = ("--data", data, "--layer", "shallow", "-f", "json")
        found = json.loads(call(tmp_path, *words).stdout)
        assert found["tracks"] == {"subset not known": 16}
        words = fails(tmp_path, "--data", data, "--tracks", "test")
        assert "its test tracks are not known" in words

    def test_a_split_by_track_is_noted(self, data: Path, run: Path, tmp_path: Path) -> None:
        note = (
            "Split by track: the network may have been trained on other tracks by the same artists."
        )
        words = ("--data", data, "--layer", "deep", "-f", "json")
        for tracks in ("test", "all"):
            assert note in json.loads(call(run, *words, "--tracks", tracks).stdout)["notes"]
        copy = tmp_path / "by-artist"
        shutil.copytree(run, copy)
        metrics = json.loads((run / "metrics.json").read_text())
        metrics["split"]["by_artist"] = True
        (copy / "metrics.json").write_text(json.dumps(metrics))
        found = json.loads(call(copy, *words).stdout)
        assert found["split"].endswith("by artist") and note not in found["notes"]

    def test_a_page_is_written_between_its_marks(
        self, data: Path, run: Path, tmp_path: Path
    ) -> None:
        page = tmp_path / "page.md"
        page.write_text("before\n<!-- geometry learning -->old<!-- /geometry learning -->\nafter\n")
        words = (run, "--data", data, "--layer", "deep", "--write", page)
        assert call(*words).exit_code == 0
        text = page.read_text()
        assert text.startswith("before\n<!-- geometry learning -->") and "old" not in text
        assert text.endswith("<!-- /geometry learning -->\nafter\n")
        assert "genrescope geometry runs/learning --data" in text and str(tmp_path) not in text
        assert (tmp_path / "page-learning-tsne.png").is_file()
        assert "(page-learning-tsne.png)" in text
        before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        call(*words)
        after = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        assert before == after and len(after) == 5, "the same run, page and pictures"
        page.write_text("no marks")
        assert "expected one <!-- geometry learning -->" in fails(*words)

    def test_a_broken_file_is_named(self, data: Path, run: Path, tmp_path: Path) -> None:
        copy = tmp_path / "data"
        for track in tracks_of(run):
            genre = track.split(".")[0]
            (copy / genre).mkdir(parents=True, exist_ok=True)
            file = copy / genre / f"{track}.png"
            file.write_bytes((data / genre / file.name).read_bytes())
        (copy / "low" / sorted(p.name for p in (copy / "low").iterdir())[0]).write_bytes(b"no")
        done = call(run, "--data", copy, "--layer", "deep")
        assert done.exit_code == 1 and "genrescope: " in done.stderr
        assert "two tracks of each genre are needed; there is one of: low." in done.stdout

    def test_errors_are_one_line(self, data: Path, run: Path, tmp_path: Path) -> None:
        words = fails(run, "--data", data, "--layer", "middle")
        assert "no layer 'middle'; there are: embedding, none, immediate, deep, shallow" in words
        assert "holds a run" in fails(run, "--data", data, "--layer", "deep", "--out", run)
        (tmp_path / "recipe.yaml").write_text("{}")
        assert "without a bundle" in fails(tmp_path, "--data", data)
        other = write_spectrograms(tmp_path / "other", tracks=2, genres=("this", "that"))
        assert "holds none of the tracks" in fails(run, "--data", other)
        one = write_spectrograms(tmp_path / "one", tracks=2, genres=("low",))
        words = fails(run / "bundle", "--data", one, "--layer", "deep")
        assert "two genres or more; there is: low" in words

    def test_of_folds_no_track_is_a_test_track(self, data: Path, tmp_path: Path) -> None:
        (tmp_path / "folded.yaml").write_text(FOLDS)
        execute(load_recipe(tmp_path / "folded.yaml"), scan(data), tmp_path / "run")
        assert "was trained on all of its tracks" in fails(tmp_path / "run", "--data", data)
        done = call(tmp_path / "run", "--data", data, "--tracks", "all", "-f", "json")
        assert json.loads(done.stdout)["tracks"] == {"training or validation": 16}

    def test_a_folder_that_cannot_be_written(self, data: Path, run: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        words = (run, "--data", data, "--layer", "deep", "--out", tmp_path / "file" / "out")
        found = call(*words)
        assert isinstance(found.exception, FileError) and "can't be written" in str(found.exception)
