"""A recipe carried out on a data set, in its own folder, resumable at any point.

A run folder holds `recipe.yaml`, `metrics.json`, `predictions.csv`, pictures, `report.html` with
its twin `report.md`, and `bundle/`. Each training of the run has a folder in `parts/` with its
checkpoint and, when it is done, its model (`model.onnx`) and what that heard (`logits.npz`).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from pydantic import ValidationError

from genrescope import __version__
from genrescope.aggregation import aggregate_logits
from genrescope.atomic import write_atomic
from genrescope.datasets import (
    Split,
    Track,
    group_tracks,
    listed_split,
    official_split,
    random_split,
    repeated_folds,
)
from genrescope.datasets.splits import divide
from genrescope.errors import DatasetError, FileError, RecipeError
from genrescope.evaluation import plots
from genrescope.evaluation.calibration import fit_temperature
from genrescope.evaluation.metrics import Scores, compute_scores
from genrescope.evaluation.predictions import Predictions, write_predictions
from genrescope.evaluation.report import write_report
from genrescope.evaluation.run_result import RunResult
from genrescope.inference.bundle import Bundle
from genrescope.inference.classifier import Classifier
from genrescope.legacy import renamed_recipe
from genrescope.models import FITTED
from genrescope.training.augment import TrainingTrack
from genrescope.training.embedding import Embedder, head_logits, joined
from genrescope.training.fit import History
from genrescope.training.learn import Learned, learn
from genrescope.training.material import (
    Windows,
    changed_copies,
    frame_matrix,
    pieces,
    read_windows,
    segment_matrix,
)
from genrescope.training.packing import pack
from genrescope.training.recipe import Recipe
from genrescope.training.teacher import Targets, standardised

FloatArray = NDArray[np.float32]
Subset = Literal["validation", "test"]


class Reporter:
    """Told how a run goes on; does nothing by itself."""

    def features(self, done: int, total: int) -> None:
        """So many tracks of the total are read."""

    def embeddings(self, done: int, total: int) -> None:
        """So many tracks of the total have been heard by the encoder."""

    def epoch(
        self, part: str, epoch: int, epochs: int, loss: float, accuracy: float | None
    ) -> None:
        """An epoch of a part is finished; sometimes with the accuracy on tracks not seen."""

    def left_out(self, problem: str) -> None:
        """A track can't be used."""


@dataclass
class _Part:
    """One training of a run.

    Attributes
    ----------
    train
        Tracks it learns from.
    aside
        Tracks it is watched on, and settings are chosen on.
    heard
        Tracks whose logits are wanted.
    """

    name: str
    train: tuple[str, ...]
    aside: tuple[str, ...]
    heard: tuple[str, ...]
    learned: Learned = field(default_factory=lambda: Learned(b""))
    logits: dict[str, FloatArray] = field(default_factory=dict)

    @property
    def learned_from(self) -> tuple[str, ...]:
        """Its training tracks without those that were set aside to choose on."""
        aside = set(self.aside)
        return tuple(track for track in self.train if track not in aside)


@dataclass(frozen=True)
class _Answer:
    """Probabilities that a part gave a track it had not learned from."""

    track: str
    part: str
    probabilities: NDArray[np.float64]


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
    name
        Of the data set.
    command
        That started the run, for whoever reads its figures.
    vectors
        Stored vectors `[frames, size]` by track id, for features of the kind "stored".
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
        name: str = "",
        command: str = "",
        vectors: Mapping[str, FloatArray] | None = None,
        teacher: Targets | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self.recipe, self.folder = recipe, folder
        self.vectors, self.teacher = vectors or {}, teacher or {}
        self.reporter = reporter or Reporter()
        self.tracks = {track.id: track for track in tracks}
        self._name_genres()
        self.left_out: list[str] = []
        self.windows: dict[str, Windows] = {}
        self.copies: dict[str, tuple[torch.Tensor, ...]] = {}
        self.embedder: Embedder | None = None
        self.embedded: dict[str, FloatArray] = {}
        self.groups: dict[str, str] = {}
        self.command = command
        self._data = describe(tracks, name, self.vectors)
        self._claim_folder()

    def _name_genres(self) -> None:
        """Genres of the tracks that are there; one of which none can be heard is none."""
        self.genres = sorted({track.genre for track in self.tracks.values()})
        if len(self.genres) < 2:
            raise DatasetError(f"one genre ({self.genres[0]}) leaves nothing to tell apart")

    def _claim_folder(self) -> None:
        """Write down recipe and data, or refuse a folder where others stand."""
        fields = {
            "recipe": self._settings(),
            "data": self._data,
            "teacher": sorted(set(self.teacher) & set(self.tracks)),
        }
        path = self.folder / "recipe.yaml"
        # Where nothing was learned yet, as after a slip of the hand, there is nothing to mix up.
        begun = path.is_file() and (self.folder / "parts").is_dir()
        if begun and _deciding(_read_yaml(path)) != _deciding(fields):
            raise RecipeError(
                f"{self.folder}: holds a run of another recipe or other data; "
                "name another folder, or delete this one"
            )
        text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(path, text.encode())
        except OSError as error:
            raise FileError(self.folder, f"can't be written: {error.strerror}") from None

    def _settings(self) -> dict[str, Any]:
        """The recipe, without where lists and weights lie on this machine."""
        settings = self.recipe.model_dump(mode="json")
        if self.recipe.split.folder is not None:
            settings["split"]["folder"] = self.recipe.split.folder.name
        if self.recipe.weights is not None:
            settings["weights"] = self.recipe.weights.name
        return settings

    def execute(self, subset: Subset = "test") -> Scores:
        """Train, judge, draw, and write the bundle.

        Parameters
        ----------
        subset
            Judge on the validation side, as tuning does, and leave the test side unheard.

        Raises
        ------
        DatasetError
            When the split can't be made.
        """
        if subset == "validation" and self.recipe.split.kind == "folds":
            raise RecipeError(f"{self.recipe.name}: folds have no validation side")
        self._read()
        if self.recipe.embedding:
            self._embed()
        if self.recipe.split.kind == "by_segment":
            self._cut_into_pieces()
        self.groups = group_tracks(self.tracks.values(), by_artist=self.recipe.split.by_artist)
        if self.recipe.split.kind == "folds":
            return self._cross_validate()
        return self._hold_out(subset)

    @property
    def _cut(self) -> bool:
        """Whether the model learns from whole segments, not from stretches of frames."""
        return bool(self.recipe.pool) or self.recipe.model.get("kind") == FITTED

    def _read(self) -> None:
        total = len(self.tracks)
        tracks = list(self.tracks.values())
        for track, windows in read_windows(
            self.recipe.frontend,
            tracks,
            self.vectors,
            lambda done: self.reporter.features(done, total),
        ):
            if isinstance(windows, FileError):
                self._leave_out(track, str(windows))
            elif not any(map(self.recipe.frontend.cuts, windows)):
                self._leave_out(track, f"{track.id}: digital silence")
            else:
                self.windows[track.id] = windows
        if not self.tracks:
            raise DatasetError("none of the tracks can be heard")
        self._name_genres()

    def _embed(self) -> None:
        """Let the encoder hear every track once."""
        assert self.recipe.embedding is not None  # noqa: S101
        frontend, total = self.recipe.frontend, len(self.tracks)
        self.embedder = Embedder(self.recipe.embedding, frontend, self.recipe.weights)
        tracks = list(self.tracks.values())
        heard = self.embedder.read(
            tracks,
            [self.windows[track.id] for track in tracks],
            lambda done: self.reporter.embeddings(done, total),
        )
        self.embedded = {track.id: vectors for track, vectors in zip(tracks, heard, strict=True)}

    @property
    def _shape(self) -> tuple[int, int]:
        """Of a segment as the model sees it."""
        return self.embedder.shape if self.embedder else self.recipe.frontend.shape

    def _leave_out(self, track: Track, problem: str) -> None:
        self.left_out.append(track.id)
        self.reporter.left_out(problem)
        del self.tracks[track.id]

    def _cut_into_pieces(self) -> None:
        """Let each segment pass for a track, which is the mistake this split is there to show."""
        whole, self.tracks = self.tracks, {}
        windows, self.windows = self.windows, {}
        embedded, self.embedded = self.embedded, {}
        for track in whole.values():
            cut = pieces(self.recipe.frontend, track, windows[track.id])
            for number, (piece, heard) in enumerate(cut):
                self.tracks[piece.id], self.windows[piece.id] = piece, heard
                if self.embedder:
                    self.embedded[piece.id] = embedded[track.id][number : number + 1]

    def _split(self) -> Split:
        settings, tracks = self.recipe.split, list(self.tracks.values())
        if settings.kind == "lists":
            if settings.folder is None:
                raise RecipeError("a split by lists needs split.folder=FOLDER")
            return listed_split(tracks, settings.folder)
        if settings.kind == "official":
            return official_split(tracks)
        return random_split(
            tracks,
            self.groups,
            train=settings.train,
            validation=settings.validation,
            test=settings.test,
            seed=self.recipe.seed,
        )

    def _hold_out(self, subset: Subset) -> Scores:
        """One training; temperature from the validation side, figures from the test side."""
        split = self._split()
        if subset == "validation":
            if not split.validation:
                raise RecipeError(f"{self.recipe.name}: its split has no validation side")
            split = Split(split.train, (), split.validation)
            aside = split.test
        else:
            aside = split.validation or self._set_aside(split.train)
        part = _Part("only", split.train, aside, (*split.train, *split.validation, *split.test))
        self._train(part)
        temperature = self._temperature(part.logits, split.validation)
        answers = [self._answer(part, track, temperature) for track in split.test]
        return self._finish([part], part, split, answers, temperature)

    def _cross_validate(self) -> Scores:
        """A training for each fold, figures from the tracks each kept out; then one on all.

        A fold's temperature is fitted on what the other folds' networks said of tracks that they
        had not seen; that of the last network on all such answers.
        """
        settings, tracks = self.recipe.split, list(self.tracks.values())
        parts: list[_Part] = []
        answers: list[_Answer] = []
        deals = repeated_folds(
            tracks,
            self.groups,
            folds=settings.folds,
            repeats=settings.repeats,
            seed=self.recipe.seed,
        )
        for repeat, splits in enumerate(deals):
            dealt: list[_Part] = []
            for number, split in enumerate(splits, 1):
                name = f"fold-{number}" if not repeat else f"repeat-{repeat + 1}-fold-{number}"
                aside = self._set_aside(split.train) or split.test
                dealt.append(_Part(name, split.train, aside, split.test))
                self._train(dealt[-1])
            unseen = {track: logits for part in dealt for track, logits in part.logits.items()}
            for part in dealt:
                others = [track for track in unseen if track not in part.logits]
                temperature = self._temperature(unseen, others)
                answers += [self._answer(part, track, temperature) for track in part.heard]
            parts += dealt
        final = _Part("final", tuple(self.tracks), self._set_aside(tuple(self.tracks)), ())
        self._train(final)
        everything = Split(tuple(self.tracks), (), tuple(self.tracks))
        temperature = self._temperature(unseen, list(unseen))
        return self._finish(parts, final, everything, answers, temperature)

    @property
    def _chooses(self) -> bool:
        """Whether settings or an epoch are chosen on tracks that are not learned from."""
        return any(
            network.model.get("tuned") or network.training.keep == "best"
            for network in self.recipe.networks
        )

    def _set_aside(self, train: tuple[str, ...]) -> tuple[str, ...]:
        """A fifth of the training tracks to choose on, where something is chosen."""
        if not self._chooses:
            return ()
        tracks = [self.tracks[track] for track in train]
        aside = divide(tracks, self.groups, [0.8, 0.2], seed=self.recipe.seed)[1]
        if not aside:
            raise DatasetError(f"{len(train)} training tracks are too few to choose settings on")
        return tuple(aside)

    def _train(self, part: _Part) -> None:
        """Train one model and let it hear its tracks, unless that was done before."""
        folder = self.folder / "parts" / part.name
        self._claim_part(folder, part)
        if not (folder / "logits.npz").is_file():
            epochs = self.recipe.epochs
            learned = learn(
                self.recipe,
                self._training_tracks(part.learned_from, learning=True),
                self._training_tracks(part.aside),
                len(self.genres),
                shape=self._shape,
                checkpoint=folder / "checkpoint.ckpt",
                report=lambda epoch, loss, accuracy: self.reporter.epoch(
                    part.name, epoch, epochs, loss, accuracy
                ),
            )
            write_atomic(folder / "model.onnx", learned.model)
            notes = {"history": learned.history, "chosen": learned.chosen}
            write_atomic(folder / "learned.json", json.dumps(notes).encode())
            heard = self._hear(learned.model, part.heard)
            write_atomic(folder / "logits.npz", _packed(heard))
            for checkpoint in folder.glob("checkpoint*"):
                checkpoint.unlink()
        notes = json.loads((folder / "learned.json").read_text())
        history: History = notes["history"]
        model = (folder / "model.onnx").read_bytes()
        part.learned = Learned(model, history, notes["chosen"])
        part.logits = _unpacked(folder / "logits.npz")

    def _claim_part(self, folder: Path, part: _Part) -> None:
        """Write down a part's tracks, or refuse what was learned from others.

        The lists of a split, or the sides in a table, may have changed since.
        """
        sides = {"train": part.learned_from, "aside": part.aside, "heard": part.heard}
        text = json.dumps(sides, indent=1).encode()
        path = folder / "tracks.json"
        if path.is_file() and path.read_bytes() != text:
            raise RecipeError(
                f"{self.folder}: holds a run of another split; "
                "name another folder, or delete this one"
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)

    def _training_tracks(
        self, tracks: Iterable[str], *, learning: bool = False
    ) -> list[TrainingTrack]:
        """Tracks as tensors; with changed copies and a teacher where they are learned from."""
        tracks = list(tracks)
        targets = standardised(self.teacher, tracks) if self.teacher and learning else {}
        width = next(iter(targets.values())).shape[1] if targets else 0
        nothing = np.full((1, width), np.nan, np.float32)
        return [
            TrainingTrack(
                self._tensor(track, self.windows[track]),
                self.genres.index(self.tracks[track].genre),
                torch.from_numpy(targets.get(track, nothing)),
                self._copies(track) if learning else (),
            )
            for track in tracks
        ]

    def _tensor(self, track: str, windows: Windows) -> torch.Tensor:
        if self.embedder:
            vectors = self.embedded[track]
            if self.recipe.model.get("kind") == FITTED:
                return torch.from_numpy(vectors.reshape(len(vectors), -1).T.copy())
            return torch.from_numpy(np.concatenate(list(vectors), axis=1))
        if self._cut:
            return torch.from_numpy(segment_matrix(self.recipe.frontend, windows))
        return torch.from_numpy(frame_matrix(windows))

    def _copies(self, track: str) -> tuple[torch.Tensor, ...]:
        settings = self.recipe.augmentation.waveform
        if settings is None or self.embedder:
            return ()
        if track not in self.copies:  # each is wanted by all folds but one
            copies = changed_copies(
                self.recipe.frontend, self.tracks[track], settings, self.recipe.seed
            )
            tensors = (self._tensor(track, windows) for windows in copies)
            # A softer copy can fall below what counts as digital silence.
            self.copies[track] = tuple(tensor for tensor in tensors if tensor.numel())
        return self.copies[track]

    def _hear(self, model: bytes, tracks: Iterable[str]) -> dict[str, FloatArray]:
        """Logits of all segments of the tracks, through the very code that users run."""
        if self.embedder:
            # The encoder's graph, which the bundle will hold too, has heard them already.
            return {track: head_logits(model, self.embedded[track]) for track in tracks}
        classifier = Classifier(self._bundle(model, 1.0, {}))
        return {
            track: np.concatenate(
                [logits for _, logits, _ in classifier.logits_of(self.windows[track])]
            )
            for track in tracks
        }

    def _temperature(self, logits: dict[str, FloatArray], tracks: Sequence[str]) -> float:
        if not tracks:
            return 1.0
        return fit_temperature(
            [logits[track] for track in tracks],
            [self.genres.index(self.tracks[track].genre) for track in tracks],
            self.recipe.aggregation,
        )

    def _answer(self, part: _Part, track: str, temperature: float) -> _Answer:
        return _Answer(
            track,
            part.name,
            aggregate_logits(part.logits[track], temperature, self.recipe.aggregation),
        )

    def _right(self, answers: Iterable[_Answer]) -> float:
        """Part of the answers that name the track's genre."""
        right = [
            self.genres[int(a.probabilities.argmax())] == self.tracks[a.track].genre
            for a in answers
        ]
        return round(sum(right) / len(right), 6) if right else float("nan")

    def _bundle(self, model: bytes, temperature: float, metrics: dict[str, Any]) -> Bundle:
        return pack(
            model,
            name=self.recipe.name,
            genres=self.genres,
            frontend=self.recipe.frontend,
            aggregation=self.recipe.aggregation,
            temperature=temperature,
            provenance={
                "recipe": self._settings(),
                "data": self._data,
                "genrescope": __version__,
                "torch": torch.__version__,
            },
            metrics=metrics,
            licence=self.recipe.licence,
        )

    def _finish(
        self,
        parts: Sequence[_Part],
        kept: _Part,
        split: Split,
        answers: list[_Answer],
        temperature: float,
    ) -> Scores:
        """Write figures, predictions, pictures, reports and the bundle."""
        answers.sort(key=lambda answer: (answer.part, answer.track))
        truth = np.array([self.genres.index(self.tracks[a.track].genre) for a in answers])
        table = np.stack([answer.probabilities for answer in answers])
        scores = compute_scores(
            truth, table, self.genres, groups=[self.groups[answer.track] for answer in answers]
        )
        result = RunResult.from_scores(
            scores,
            # Repeated folds test each track as often.
            n=len({answer.track for answer in answers}),
            recipe=self.recipe.name,
            command=self.command,
            seed=self.recipe.seed,
            split=self.recipe.split.model_dump(mode="json"),
            leaked=self.recipe.split.i_know_this_leaks,
            grouped_by_artist=self.recipe.split.by_artist,
            published=self.recipe.published and self.recipe.published.model_dump(),
            data=self._data,
            train_tracks=len(kept.learned_from),
            validation_tracks=len(split.validation),
            **self._other_sides(kept, split, temperature),
            temperature=round(temperature, 4),
            test_tracks_of_training_artists=self._by_artists_learned_from(parts, answers),
            left_out=[{"track": track} for track in self.left_out],
            chosen_settings=kept.learned.chosen,
            teacher_tracks=len(set(self.teacher) & set(self.tracks)),
            folds={
                part.name: {
                    "train_tracks": len(part.learned_from),
                    "test_tracks": sum(answer.part == part.name for answer in answers),
                    "accuracy": self._right(a for a in answers if a.part == part.name),
                }
                for part in parts
            },
        )
        result.write(self.folder)
        predictions = Predictions(
            genres=tuple(self.genres),
            tracks=tuple(answer.track for answer in answers),
            folds=tuple(answer.part for answer in answers),
            truth=truth,
            probabilities=table,
        )
        write_predictions(predictions, self.folder)
        histories = {part.name: part.learned.history for part in parts}
        plots.curves(histories, self.folder / "curves.png")
        model = kept.learned.model
        if self.embedder:
            model = joined(self.embedder.graph, model)
        self._bundle(model, temperature, result.to_dict()).save(self.folder / "bundle")
        write_report(self.folder)
        return scores

    def _by_artists_learned_from(
        self, parts: Sequence[_Part], answers: Iterable[_Answer]
    ) -> int | None:
        """How many tracks were judged by a network that had learned from their artists."""
        artist = {name: track.artist for name, track in self.tracks.items() if track.artist}
        if not artist:
            return None
        known = {part.name: {artist.get(t) for t in part.learned_from} - {None} for part in parts}
        return len({a.track for a in answers if artist.get(a.track) in known[a.part]})

    def _other_sides(self, part: _Part, split: Split, temperature: float) -> dict[str, float]:
        """Accuracy on the tracks learned from and on those for validation, as papers state them."""
        sides = {"train_accuracy": part.learned_from, "validation_accuracy": split.validation}
        return {
            name: self._right(self._answer(part, track, temperature) for track in tracks)
            for name, tracks in sides.items()
            if tracks and set(tracks) <= set(part.logits)
        }


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None


def _deciding(fields: Any) -> Any:
    """What decides how a run ends: not what is only written beside its figures."""
    if not isinstance(fields, dict) or not isinstance(fields.get("recipe"), dict):
        return fields
    words = {"description", "published", "search", "licence"}
    recipe = {key: value for key, value in fields["recipe"].items() if key not in words}
    with suppress(RecipeError, ValidationError):
        # A setting that came later had its default.
        recipe = Recipe.model_validate(renamed_recipe(recipe)[0]).model_dump(mode="json")
    return {**fields, "recipe": recipe}


def describe(
    tracks: Sequence[Track], name: str = "", vectors: Mapping[str, FloatArray] | None = None
) -> dict[str, Any]:
    """What a data set is, without where it lies on this machine."""
    content = hashlib.sha256()
    listing = "".join(
        f"{t.id} {t.genre} {t.artist} {t.path.stat().st_size if t.path.is_file() else 0}\n"
        for t in tracks
    )
    content.update(listing.encode("utf-8", "surrogateescape"))
    for track in tracks:
        content.update((vectors or {}).get(track.id, np.zeros(0)).tobytes())
    return {
        "name": name or tracks[0].path.parent.parent.name,
        "tracks": len(tracks),
        "with_artist": sum(track.artist is not None for track in tracks),
        "fingerprint": content.hexdigest()[:16],
    }


def _packed(logits: Mapping[str, FloatArray]) -> bytes:
    """Logits of many tracks as an `.npz` of three arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        tracks=np.array(list(logits), dtype=np.str_),
        segments=np.array([len(values) for values in logits.values()], dtype=np.intp),
        logits=np.concatenate(list(logits.values())) if logits else np.zeros((0, 0), np.float32),
    )
    return buffer.getvalue()


def _unpacked(path: Path) -> dict[str, FloatArray]:
    with np.load(path, allow_pickle=False) as arrays:
        ends = np.cumsum(arrays["segments"])
        values = np.split(arrays["logits"], ends[:-1]) if len(ends) else []
        return dict(zip(arrays["tracks"].tolist(), values, strict=True))
