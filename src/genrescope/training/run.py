"""A recipe carried out on a data set, in its own folder, resumable at any point.

A run folder holds `recipe.yaml`, `metrics.json`, `predictions.csv`, `confusion.png`, `curves.png`
and `bundle/`. Each training of the run has a folder in `parts/` with its checkpoint and, when it is
done, its network (`model.onnx`) and what that heard (`heard.npz`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import nn

from genrescope import __version__
from genrescope.atomic import write_atomic
from genrescope.datasets import (
    Split,
    Track,
    fold_splits,
    group_tracks,
    listed_split,
    random_split,
)
from genrescope.errors import DatasetError, FileError, RecipeError
from genrescope.evaluation.calibration import fit_temperature
from genrescope.evaluation.metrics import Judgement, judge
from genrescope.features import Frontend
from genrescope.inference.bundle import Bundle, Manifest
from genrescope.inference.classifier import Classifier
from genrescope.training.augment import TrainingTrack
from genrescope.training.export import export_onnx
from genrescope.training.fit import History, fit
from genrescope.training.recipe import Recipe
from genrescope.training.teacher import Targets, standardised
from genrescope.voting import vote

Logits = NDArray[np.float32]


class Reporter:
    """Told how a run goes on; does nothing by itself."""

    def features(self, done: int, total: int) -> None:
        """So many tracks of the total are read."""

    def epoch(self, part: str, epoch: int, epochs: int, loss: float) -> None:
        """An epoch of a part is finished."""

    def left_out(self, problem: str) -> None:
        """A track can't be used."""


@dataclass
class _Part:
    """One training of a run: what it learns from, and whom it is judged on."""

    name: str
    train: tuple[str, ...]
    heard: tuple[str, ...]
    model: bytes = b""
    logits: dict[str, Logits] = field(default_factory=dict)
    history: History = field(default_factory=list)


class Run:
    """Carries out a recipe.

    Parameters
    ----------
    recipe
        What to do.
    tracks
        The data set; artists included where the split needs them.
    folder
        Of the run. If it holds an unfinished run of the same recipe and data, that goes on.
    teacher
        Targets to learn beside the genres; only those of training tracks are used.
    reporter
        Told of progress.

    Raises
    ------
    RecipeError
        When the folder holds a run of another recipe or other data.
    """

    def __init__(
        self,
        recipe: Recipe,
        tracks: Sequence[Track],
        folder: Path,
        *,
        teacher: Targets | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self.recipe, self.folder, self.teacher = recipe, folder, teacher or {}
        self.reporter = reporter or Reporter()
        self.tracks = {track.id: track for track in tracks}
        self.genres = sorted({track.genre for track in tracks})
        if len(self.genres) < 2:
            raise DatasetError(f"one genre ({self.genres[0]}) leaves nothing to tell apart")
        self.left_out: list[str] = []
        self._claim_folder()

    def _claim_folder(self) -> None:
        """Write down recipe and data, or refuse a folder where others stand."""
        fields = {
            "recipe": self._settings(),
            "data": self._data(),
            "teacher": sorted(set(self.teacher) & set(self.tracks)),
        }
        text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
        path = self.folder / "recipe.yaml"
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise RecipeError(
                f"{self.folder}: holds a run of another recipe or other data; "
                "name another folder, or delete this one"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text.encode())

    def _settings(self) -> dict[str, Any]:
        """The recipe, without where the lists of a split lie on this machine."""
        settings = self.recipe.model_dump(mode="json")
        if self.recipe.split.folder is not None:
            settings["split"]["folder"] = self.recipe.split.folder.name
        return settings

    def _data(self) -> dict[str, Any]:
        """What the data set is, without where it lies on this machine."""
        listing = "".join(
            f"{t.id} {t.genre} {t.artist} {t.path.stat().st_size}\n" for t in self.tracks.values()
        )
        folders = {t.path.parent.parent.name for t in self.tracks.values()}
        return {
            "name": ", ".join(sorted(folders)),
            "tracks": len(self.tracks),
            "with_artist": sum(t.artist is not None for t in self.tracks.values()),
            "fingerprint": hashlib.sha256(listing.encode()).hexdigest()[:16],
        }

    def execute(self) -> Judgement:
        """Train, judge, draw, and write the bundle.

        Raises
        ------
        DatasetError
            When the split can't be made.
        """
        features = self._features()
        groups = group_tracks(self.tracks.values(), by_artist=self.recipe.split.by_artist)
        if self.recipe.split.kind == "folds":
            return self._cross_validate(features, groups)
        return self._hold_out(features, groups)

    def _features(self) -> dict[str, torch.Tensor]:
        """Scaled features of all tracks that can be read, `[size, frames]` by track id."""
        features: dict[str, torch.Tensor] = {}
        with ThreadPoolExecutor() as pool:
            results = pool.map(
                _read_features, [self.recipe.frontend] * len(self.tracks), self.tracks.values()
            )
            for done, (track, values) in enumerate(zip(list(self.tracks), results, strict=True), 1):
                if isinstance(values, FileError):
                    self.left_out.append(track)
                    self.reporter.left_out(str(values))
                    del self.tracks[track]
                else:
                    features[track] = torch.from_numpy(values)
                self.reporter.features(done, len(self.tracks) + len(self.left_out))
        return features

    def _hold_out(self, features: dict[str, torch.Tensor], groups: dict[str, str]) -> Judgement:
        """One training; temperature from the validation side, figures from the test side."""
        settings, tracks = self.recipe.split, list(self.tracks.values())
        if settings.kind == "lists":
            if settings.folder is None:
                raise RecipeError("a split by lists needs split.folder=FOLDER")
            split = listed_split(tracks, settings.folder)
        else:
            split = random_split(
                tracks,
                groups,
                train=settings.train,
                validation=settings.validation,
                test=settings.test,
                seed=self.recipe.seed,
            )
        part = _Part("only", split.train, (*split.validation, *split.test))
        self._train(part, features)
        temperature = self._temperature(part.logits, split.validation)
        probabilities = {t: vote(part.logits[t], temperature) for t in split.test}
        return self._finish([part], part, split, probabilities, temperature, groups)

    def _cross_validate(
        self, features: dict[str, torch.Tensor], groups: dict[str, str]
    ) -> Judgement:
        """A training for each fold, figures from the tracks each kept out; then one on all.

        A fold's temperature is fitted on what the other folds' networks said of tracks that they
        had not seen; that of the last network on all such answers.
        """
        splits = fold_splits(
            list(self.tracks.values()),
            groups,
            folds=self.recipe.split.folds,
            seed=self.recipe.seed,
        )
        parts = [_Part(f"fold-{i}", s.train, s.test) for i, s in enumerate(splits, 1)]
        final = _Part("final", tuple(self.tracks), ())
        for part in [*parts, final]:
            self._train(part, features)
        unseen = {track: logits for part in parts for track, logits in part.logits.items()}
        probabilities: dict[str, NDArray[np.float64]] = {}
        for part in parts:
            others = [track for track in unseen if track not in part.logits]
            temperature = self._temperature(unseen, others)
            probabilities |= {t: vote(z, temperature) for t, z in part.logits.items()}
        everything = Split(tuple(self.tracks), (), tuple(unseen))
        temperature = self._temperature(unseen, list(unseen))
        return self._finish(parts, final, everything, probabilities, temperature, groups)

    def _train(self, part: _Part, features: dict[str, torch.Tensor]) -> None:
        """Train one network and let it hear its tracks, unless that was done before."""
        folder = self.folder / "parts" / part.name
        if not (folder / "heard.npz").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            training = self._training_tracks(part.train, features)
            network, history = fit(
                self.recipe,
                training,
                len(self.genres),
                checkpoint=folder / "checkpoint.ckpt",
                report=lambda epoch, loss: self.reporter.epoch(
                    part.name, epoch, self.recipe.training.epochs, loss
                ),
                watch=self._watch(part.heard, features) if part.heard else None,
            )
            frontend = self.recipe.frontend
            size = frontend.computed.size
            model = export_onnx(network, size=size, frames=frontend.segment_frames)
            write_atomic(folder / "model.onnx", model)
            write_atomic(folder / "history.json", json.dumps(history).encode())
            heard = self._hear(self._bundle(model, 1.0, {}), part.heard)
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **heard)  # type: ignore[arg-type]
            write_atomic(folder / "heard.npz", buffer.getvalue())
            (folder / "checkpoint.ckpt").unlink()
        part.model = (folder / "model.onnx").read_bytes()
        part.history = json.loads((folder / "history.json").read_text())
        with np.load(folder / "heard.npz", allow_pickle=False) as arrays:
            part.logits = {track: arrays[track] for track in arrays.files}

    def _training_tracks(
        self, train: Iterable[str], features: dict[str, torch.Tensor]
    ) -> list[TrainingTrack]:
        targets = standardised(self.teacher, train) if self.teacher else {}
        width = next(iter(targets.values())).shape[1] if targets else 0
        nothing = np.full((1, width), np.nan, np.float32)
        return [
            TrainingTrack(
                features[track],
                self.genres.index(self.tracks[track].genre),
                torch.from_numpy(targets.get(track, nothing)),
            )
            for track in train
        ]

    def _watch(
        self, heard: Sequence[str], features: dict[str, torch.Tensor]
    ) -> Callable[[nn.Module], float]:
        """Accuracy on the middle of each track heard, for the learning curves alone."""
        length = self.recipe.frontend.segment_frames
        middles = []
        for track in heard:
            values = features[track]
            values = values.repeat(1, -(-length // values.shape[1]))
            start = (values.shape[1] - length) // 2
            middles.append(values[:, start : start + length])
        segments = torch.stack(middles)
        labels = torch.tensor([self.genres.index(self.tracks[track].genre) for track in heard])

        def accuracy(network: nn.Module) -> float:
            was_training = network.training
            network.eval()
            with torch.inference_mode():
                named = [network(batch)[0].argmax(dim=1) for batch in torch.split(segments, 64)]
            network.train(was_training)
            return float((torch.cat(named) == labels).float().mean())

        return accuracy

    def _hear(self, bundle: Bundle, tracks: Iterable[str]) -> dict[str, Logits]:
        """Logits of all segments of the tracks, through the very code that users run."""
        classifier = Classifier(bundle)
        return {
            track: np.concatenate(
                [logits for _, logits, _ in classifier.logits(self.tracks[track].path)]
                or [np.zeros((1, len(self.genres)), np.float32)]
            )
            for track in tracks
        }

    def _temperature(self, logits: dict[str, Logits], tracks: Sequence[str]) -> float:
        if not tracks:
            return 1.0
        return fit_temperature(
            [logits[track] for track in tracks],
            [self.genres.index(self.tracks[track].genre) for track in tracks],
        )

    def _bundle(self, model: bytes, temperature: float, metrics: dict[str, Any]) -> Bundle:
        return Bundle(
            Manifest(
                name=self.recipe.name,
                genres=self.genres,
                frontend=self.recipe.frontend,
                voting=self.recipe.voting,
                temperature=temperature,
                provenance={
                    "recipe": self._settings(),
                    "data": self._data(),
                    "genrescope": __version__,
                    "torch": torch.__version__,
                },
                metrics=metrics,
                licence=self.recipe.licence,
                sha256=hashlib.sha256(model).hexdigest(),
            ),
            model,
        )

    def _finish(
        self,
        judged: Sequence[_Part],
        kept: _Part,
        split: Split,
        probabilities: dict[str, NDArray[np.float64]],
        temperature: float,
        groups: dict[str, str],
    ) -> Judgement:
        """Write figures, predictions, pictures and the bundle."""
        plots = import_module("genrescope.evaluation.plots")
        names = list(probabilities)
        truth = np.array([self.genres.index(self.tracks[track].genre) for track in names])
        table = np.stack(list(probabilities.values()))
        judgement = judge(truth, table, self.genres, groups=[groups[track] for track in names])
        metrics = {
            **judgement.to_dict(),
            "recipe": self.recipe.name,
            "seed": self.recipe.seed,
            "split": self.recipe.split.model_dump(mode="json", exclude={"folder"}),
            "train": len(split.train),
            "validation": len(split.validation),
            "temperature": round(temperature, 4),
            "left_out": self.left_out,
            "parts": {
                part.name: {
                    "train": len(part.train),
                    "test": len(set(part.heard) & set(names)),
                    "accuracy": round(self._accuracy(part, probabilities), 6),
                }
                for part in judged
            },
        }
        write_atomic(self.folder / "metrics.json", json.dumps(metrics, indent=1).encode())
        write_atomic(
            self.folder / "predictions.csv", self._predictions(judged, probabilities).encode()
        )
        plots.confusion(judgement.confusion, self.genres, self.folder / "confusion.png")
        plots.curves({part.name: part.history for part in judged}, self.folder / "curves.png")
        plots.reliability(truth, table, self.folder / "reliability.png")
        self._bundle(kept.model, temperature, metrics).save(self.folder / "bundle")
        return judgement

    def _accuracy(self, part: _Part, probabilities: dict[str, NDArray[np.float64]]) -> float:
        right = [
            self.genres[int(probabilities[track].argmax())] == self.tracks[track].genre
            for track in part.heard
            if track in probabilities
        ]
        return sum(right) / len(right)

    def _predictions(
        self, judged: Sequence[_Part], probabilities: dict[str, NDArray[np.float64]]
    ) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["track", "part", "genre", "named", "confidence", *self.genres])
        for part in judged:
            for track in sorted(set(part.heard) & set(probabilities)):
                row = probabilities[track]
                writer.writerow(
                    [
                        track,
                        part.name,
                        self.tracks[track].genre,
                        self.genres[int(row.argmax())],
                        *(f"{value:.6f}" for value in (row.max(), *row)),
                    ]
                )
        return text.getvalue()


def _read_features(frontend: Frontend, track: Track) -> NDArray[np.float32] | FileError:
    try:
        return np.concatenate([w.values for w in frontend.windows(track.path)], axis=1)
    except FileError as error:
        return error
