"""What a run refuses and leaves out, so that no score is better than it should be."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import yaml

pytest.importorskip("torch", reason="needs genrescope[train]")

from clips import write_spectrograms, write_wav
from genrescope.datasets import Track, scan
from genrescope.datasets.fingerprints import used_in_training
from genrescope.errors import DatasetError, FileError, RecipeError
from genrescope.evaluation.model_card import model_card
from genrescope.evaluation.run_result import RunResult
from genrescope.features import Frontend
from genrescope.inference import Bundle
from genrescope.training.data import changed_copies, load
from genrescope.training.identity import hash_inputs
from genrescope.training.recipe import Recipe
from genrescope.training.reporter import DefaultReporter
from genrescope.training.run import execute
from genrescope.training.run_folder import RunFolder
from genrescope.training.settings import WaveformAugmentation

# Noise can't be learned, but the nearest neighbour classifies its training tracks correctly.
RANDOM = np.random.default_rng(0)
VECTORS = {f"t{n:02d}": RANDOM.normal(size=(1, 8)).astype(np.float32) for n in range(60)}
NEIGHBOUR = {"kind": "classical", "name": "kNN", "n_neighbors": 1}


def make_recipe(**settings: Any) -> Recipe:
    fields: dict[str, Any] = {
        "name": "guarded",
        "feature": {"kind": "stored", "name": "noise", "width": 8},
        "scale": "none",
        "segments": {"seconds": 30, "overlap": 0},
        "model": NEIGHBOUR,
        "split": {"kind": "official"},
    }
    return Recipe.model_validate(fields | settings)


def official(folder: Path, tested: Sequence[int]) -> list[Track]:
    return [
        Track(name, folder / "noise.npz", "ab"[n % 2], split="test" if n in tested else "train")
        for n, name in enumerate(VECTORS)
    ]


def lists(folder: Path, tested: Sequence[int]) -> Path:
    subsets: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for n, name in enumerate(VECTORS):
        subset = "test" if n in tested else "valid" if 25 <= n < 30 else "train"
        subsets[subset].append(f"{name}.wav\n")
    folder.mkdir(parents=True)
    for subset, lines in subsets.items():
        (folder / f"{subset}.txt").write_text("".join(lines))
    return folder


class TestResumingWithAnotherSplit:
    """The model of a finished job would be tested on tracks that it was trained on."""

    def test_another_official_split_is_refused(self, tmp_path: Path) -> None:
        run = tmp_path / "run"
        first = official(tmp_path, range(20))
        accuracy = execute(make_recipe(), first, run, vectors=VECTORS).accuracy
        with pytest.raises(RecipeError, match="another split"):
            execute(make_recipe(), official(tmp_path, range(40, 60)), run, vectors=VECTORS)
        again = execute(make_recipe(), first, run, vectors=VECTORS)
        assert again.accuracy == accuracy < 0.9

    def test_other_lists_in_a_folder_of_the_same_name_are_refused(self, tmp_path: Path) -> None:
        tracks = official(tmp_path, [])
        one = lists(tmp_path / "one" / "lists", range(20))
        other = lists(tmp_path / "other" / "lists", range(40, 60))
        split = {"kind": "lists", "folder": one}
        execute(make_recipe(split=split), tracks, tmp_path / "run", vectors=VECTORS)
        with pytest.raises(RecipeError, match="another split"):
            execute(
                make_recipe(split={**split, "folder": other}),
                tracks,
                tmp_path / "run",
                vectors=VECTORS,
            )

    def test_the_tracks_of_each_job_are_written_down(self, tmp_path: Path) -> None:
        recipe = make_recipe(model={"kind": "classical", "name": "NB", "tuned": True})
        run = tmp_path / "run"
        execute(recipe, official(tmp_path, range(20)), run, vectors=VECTORS)
        written = json.loads((run / "jobs" / "only" / "tracks.json").read_text())
        result = RunResult.read(run)
        assert sorted(written["train"] + written["monitored"]) == sorted(VECTORS)[20:]
        assert result.train_tracks == len(written["train"]) < 40, "without those chosen on"
        assert result.folds["only"].train_tracks == len(written["train"])


class TestResumingWithOtherInputs:
    """Finished folds would be of one teacher, one model or one set of files, others of another."""

    TEACHER: ClassVar = {name: values[:, :3] for name, values in VECTORS.items()}

    @pytest.mark.slow
    def test_other_targets_of_the_same_tracks_are_refused(self, tmp_path: Path) -> None:
        recipe, tracks = make_recipe(), official(tmp_path, range(20))
        given: dict[str, Any] = {"vectors": VECTORS, "reporter": DefaultReporter()}
        run = tmp_path / "run"
        first = execute(recipe, tracks, run, teacher=self.TEACHER, **given)
        changed = {**self.TEACHER, "t07": -self.TEACHER["t07"]}
        with pytest.raises(RecipeError, match="another content of a teacher"):
            execute(recipe, tracks, run, teacher=changed, **given)
        again = execute(recipe, tracks, run, teacher=self.TEACHER, **given)
        assert again.accuracy == first.accuracy

    @pytest.mark.slow
    def test_a_teacher_of_other_tracks_alone_is_told(self, tmp_path: Path) -> None:
        told: list[str] = []
        reporter = DefaultReporter()
        reporter.notice = told.append  # type: ignore[method-assign]
        tracks = official(tmp_path, range(20))
        given: dict[str, Any] = {"vectors": VECTORS, "reporter": reporter}
        teacher = {"x.wav": np.zeros((1, 3), np.float32)}
        execute(make_recipe(), tracks, tmp_path / "run", teacher=teacher, **given)
        assert told == ["the data set has none of the teacher's tracks (x.wav, …)"]

    def test_other_weights_of_the_same_name_are_refused(self, tmp_path: Path) -> None:
        files = []
        for name in "ab":
            (tmp_path / name).mkdir()
            files.append(tmp_path / name / "w.npz")
            files[-1].write_bytes(name.encode())
        one, other, same = (make_recipe(weights=file) for file in (*files, tmp_path / "w.npz"))
        same.weights.write_bytes(b"a")
        assert one.portable == other.portable == same.portable
        hashes = [hash_inputs(recipe, {}) for recipe in (one, other, same)]
        assert hashes[0] == hashes[2] != hashes[1]
        self.claim(tmp_path / "run", one)
        self.claim(tmp_path / "run", same)
        with pytest.raises(RecipeError, match="another content of a teacher, weights or model"):
            self.claim(tmp_path / "run", other)

    def test_another_model_of_the_same_name_is_refused(self, tmp_path: Path) -> None:
        bundle, place = Bundle.load("default"), tmp_path / "model"
        bundle.save(place)
        feature = {"kind": "bundle", "bundle": str(place)}
        segments = bundle.manifest.frontend.segments.model_dump(mode="json")
        recipe = make_recipe(feature=feature, segments=segments)
        self.claim(tmp_path / "run", recipe)
        self.claim(tmp_path / "run", recipe)
        model = bundle.model + b"\n"
        sha256 = hashlib.sha256(model).hexdigest()
        replace(
            bundle, model=model, manifest=bundle.manifest.model_copy(update={"sha256": sha256})
        ).save(place)
        with pytest.raises(RecipeError, match="weights or model"):
            self.claim(tmp_path / "run", recipe)

    def claim(self, path: Path, recipe: Recipe) -> None:
        RunFolder.claim(path, recipe, {"name": "x"}, (), hash_inputs(recipe, {}))
        (path / "jobs" / "only").mkdir(parents=True, exist_ok=True)
        (path / "jobs" / "only" / "checkpoint.ckpt").touch()

    @pytest.mark.slow
    def test_other_audio_of_the_same_size_is_refused(self, tmp_path: Path) -> None:
        data, run = tmp_path / "data", tmp_path / "run"
        for n, genre in enumerate(["low", "high"] * 4):
            (data / genre).mkdir(parents=True, exist_ok=True)
            write_wav(data / genre / f"{n}.wav", 1.5, seed=n, pitch=110.0 * 8 ** (n % 2))
        recipe = make_recipe(
            feature={"kind": "log_mel", "n_mels": 20, "n_fft": 1024, "hop_length": 1024},
            segments={"seconds": 1, "overlap": 0},
            model={"kind": "classical", "name": "NB"},
            split={"kind": "random", "train": 0.5, "validation": 0, "test": 0.5},
        )
        first = execute(recipe, scan(data), run)
        # A copy elsewhere is the same data.
        shutil.copytree(data, tmp_path / "copy" / "data")
        assert execute(recipe, scan(tmp_path / "copy" / "data"), run).accuracy == first.accuracy
        file = data / "low" / "0.wav"
        size = file.stat().st_size
        write_wav(file, 1.5, seed=99, pitch=110.0)
        assert file.stat().st_size == size
        with pytest.raises(RecipeError, match="a file was changed since"):
            execute(recipe, scan(data), run)
        # A run of a version before the hashes resumes.
        tracks_file, recipe_file = run / "jobs/only/tracks.json", run / "recipe.yaml"
        fields = json.loads(tracks_file.read_text())
        tracks_file.write_text(json.dumps({k: v for k, v in fields.items() if k != "files"}))
        fields = yaml.safe_load(recipe_file.read_text())
        recipe_file.write_text(yaml.safe_dump({k: v for k, v in fields.items() if k != "inputs"}))
        assert execute(recipe, scan(data), run).accuracy == first.accuracy
        with pytest.raises(RecipeError, match="changed since"):
            execute(recipe, scan(tmp_path / "copy" / "data"), run)


class TestTheFolder:
    def test_a_run_that_trained_nothing_does_not_claim_it(self, tmp_path: Path) -> None:
        tracks = official(tmp_path, range(20))
        with pytest.raises(DatasetError):
            execute(make_recipe(), tracks, tmp_path / "run", vectors={})
        execute(make_recipe(), tracks, tmp_path / "run", vectors=VECTORS)

    def test_one_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(FileError, match="can't be written"):
            execute(
                make_recipe(), official(tmp_path, range(20)), tmp_path / "file", vectors=VECTORS
            )

    def test_a_setting_that_came_later_had_its_default(self, tmp_path: Path) -> None:
        tracks, path = official(tmp_path, range(20)), tmp_path / "run" / "recipe.yaml"
        execute(make_recipe(), tracks, tmp_path / "run", vectors=VECTORS)
        fields = yaml.safe_load(path.read_text())
        del fields["recipe"]["training"]["schedule"]
        path.write_text(yaml.safe_dump(fields))
        execute(make_recipe(), tracks, tmp_path / "run", vectors=VECTORS)
        with pytest.raises(RecipeError, match="another recipe"):
            execute(make_recipe(seed=1), tracks, tmp_path / "run", vectors=VECTORS)


@pytest.mark.slow
def test_names_that_are_no_utf_8_are_escaped_in_the_bundle(tmp_path: Path) -> None:
    names = {name: f"{name}-caf\udce9" for name in VECTORS}
    tracks = [replace(t, id=names[t.id], artist="Ren\udce9") for t in official(tmp_path, range(20))]
    vectors = {names[name]: values for name, values in VECTORS.items()}
    run, words = tmp_path / "run", {"name": "mus\udcefc", "command": "genrescope train mus\udcefc"}
    first = execute(make_recipe(), tracks, run, vectors=vectors, **words)
    again = execute(make_recipe(), tracks, run, vectors=vectors, **words)
    assert again.accuracy == first.accuracy
    assert (run / "report.html").is_file()
    manifest = Bundle.load(run).manifest
    listed = manifest.training_tracks or {}
    assert listed["ids"].splitlines()[0] == r"t20-caf\udce9"
    assert manifest.provenance["data"]["name"] == listed["data"] == r"mus\udcefc"
    assert manifest.metrics["command"] == r"genrescope train mus\udcefc"
    # Tracks of tables have no fingerprint: they are found by these names alone.
    assert used_in_training(listed, tracks, data="mus\udcefc") == [False] * 20 + [True] * 40
    assert model_card(Bundle.load(run)).encode()


@pytest.mark.parametrize("genre", ["a\nb", " ", "a\u200b"])
def test_a_genre_that_no_bundle_can_name_is_refused_before_training(
    tmp_path: Path, genre: str
) -> None:
    tracks = [
        replace(track, genre=genre) if track.genre == "a" else track
        for track in official(tmp_path, range(20))
    ]
    with pytest.raises(DatasetError, match=r"a character that can't be shown|expected a name"):
        execute(make_recipe(), tracks, tmp_path / "run", vectors=VECTORS)


def test_a_name_that_is_no_utf_8_is_the_seed_of_its_changed_copies(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", 1.5).rename(tmp_path / os.fsdecode(b"caf\xe9.wav"))
    frontend = Frontend(
        feature={"kind": "log_mel", "n_mels": 20, "n_fft": 1024, "hop_length": 1024},
        segments={"seconds": 1, "overlap": 0},
    )
    settings = WaveformAugmentation(semitones=0)

    def copies(name: str) -> list[np.ndarray]:
        found = changed_copies(frontend, Track(name, path, "a"), settings, 0)
        return [copy.frames(frontend) for copy in found]

    one, same, other = copies(path.stem), copies(path.stem), copies("caf\udcea")
    assert len(one) == 3
    assert np.array_equal(one[2], same[2])
    assert not np.array_equal(one[2], other[2]), "another name has other noise"


def test_silent_tracks_are_neither_trained_nor_tested_on(tmp_path: Path) -> None:
    for genre, pitch in (("low", 110.0), ("high", 880.0)):
        (tmp_path / "data" / genre).mkdir(parents=True)
        for n in range(5):
            write_wav(tmp_path / "data" / genre / f"{genre}{n}.wav", 1.5, seed=n, pitch=pitch)
        # A file of zeros, after the header of 44 bytes.
        sound = (tmp_path / "data" / genre / f"{genre}0.wav").read_bytes()
        (tmp_path / "data" / genre / f"{genre}5.wav").write_bytes(
            sound[:44] + bytes(len(sound) - 44)
        )
    recipe = make_recipe(
        feature={"kind": "log_mel", "n_mels": 20, "n_fft": 1024, "hop_length": 1024},
        segments={"seconds": 1, "overlap": 0},
        model={"kind": "mlp", "hidden": [4]},
        training={"epochs": 1, "precision": "fp32"},
        split={"kind": "random"},
    )
    execute(recipe, scan(tmp_path / "data"), tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert [entry["track"] for entry in metrics["left_out"]] == ["high5", "low5"]
    assert {entry["reason"] for entry in metrics["left_out"]} == {"digital silence"}
    assert metrics["n"] + metrics["train_tracks"] + metrics["validation_tracks"] == 10


def test_each_segment_that_is_treated_as_a_track_has_its_own_embedding(tmp_path: Path) -> None:
    """And what is kept of a file on disk stays that of the whole file."""
    tracks = scan(write_spectrograms(tmp_path / "data", tracks=2))
    recipe = make_recipe(
        feature={"kind": "embedding", "encoder": "mobilenet_v2", "weights_seed": 0},
        segments={"seconds": 14, "overlap": 0.5},
        model={"kind": "classical", "name": "NB"},
        split={"kind": "random", "train": 0.5, "validation": 0, "test": 0.5},
    )
    split = recipe.split.model_copy(update={"kind": "by_segment", "i_know_this_leaks": True})
    leaking = recipe.model_copy(update={"split": split})
    # The cache has the same encoder and files for the segments and then for the whole tracks.
    given: dict[str, Any] = {"vectors": {}, "targets": {}, "reporter": DefaultReporter()}
    cut, whole = load(leaking, tracks, **given), load(recipe, tracks, **given)
    for track in tracks:
        own = [cut.segments(name) for name in cut.tracks if name.startswith(f"{track.id}#")]
        assert len(own) > 1
        assert np.array_equal(np.concatenate(own), whole.segments(track.id))
        assert not np.array_equal(own[0], own[1])
