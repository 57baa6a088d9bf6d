"""From the network's outputs for the windows of a track to the prediction of the track."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from genrescope.aggregation import aggregate, softmax
from genrescope.features import Segment, StreamInfo
from genrescope.inference.bundle import Manifest
from genrescope.inference.labels import MUSIC, SoundLabels
from genrescope.inference.listening import is_clear
from genrescope.inference.prediction import Prediction, SegmentPrediction

NOTHING_AUDIBLE = "silence, and less than a second of sound: cannot tell a genre"


class TrackOutputs:
    """Collects the outputs of one track, window by window.

    Parameters
    ----------
    manifest
        The model's genres, temperature, aggregation and labels.
    embedding_size
        Length of the model's embedding.
    info
        Duration, warnings and changes of the track; its duration grows while it is decoded.
    """

    def __init__(self, manifest: Manifest, embedding_size: int, info: StreamInfo) -> None:
        self._manifest, self._info = manifest, info
        self._timeline: list[SegmentPrediction] = []
        self._probabilities: list[NDArray[np.float64]] = []
        self._label_logits: list[NDArray[np.float32]] = []
        self._embedding_sum = np.zeros(embedding_size)
        # For `is_clear`: the mean logits of each window with music, and for each window by how much
        # it counts as music.
        self._music_logits: list[NDArray[np.float64]] = []
        self._margins: list[float] = []

    def add(
        self,
        segments: list[Segment],
        logits: NDArray[np.float32],
        embeddings: NDArray[np.float32],
    ) -> list[SegmentPrediction]:
        """Add a window.

        Parameters
        ----------
        segments
            The segments of the window; only their times are used.
        logits
            The network's raw logits, `[segments, outputs]`.
        embeddings
            The network's embeddings, `[segments, size]`.

        Returns
        -------
        list of SegmentPrediction
            The predictions of these segments.
        """
        head, detector = self._manifest.labels, self._manifest.music_detector
        genre_logits, music = logits, np.ones(len(logits), np.bool_)
        if head is not None:
            self._label_logits.append(logits)
            genre_logits, music = head.genre_logits(logits), head.has_music(logits)
            self._margins.append(head.margin(logits))
        probabilities = softmax(genre_logits, self._manifest.temperature)
        self._probabilities.append(probabilities)
        if music.any():
            mean = genre_logits[music].mean(axis=0) / self._manifest.temperature
            self._music_logits.append(np.asarray(mean))
        self._embedding_sum += embeddings.sum(axis=0, dtype=np.float64)
        if detector is not None:
            self._margins.append(detector.margin(embeddings.mean(axis=0)))
        new = [
            SegmentPrediction(
                segment.start, min(segment.end, self._info.duration), self._by_genre(row)
            )
            for segment, row in zip(segments, probabilities, strict=True)
        ]
        self._timeline += new
        return new

    def is_clear(self, unread: float) -> bool:
        """Whether the genre is clear, although this fraction of the track has not been read."""
        knows_music = self._manifest.labels is not None or self._manifest.music_detector is not None
        return is_clear(self._music_logits, unread, self._margins if knows_music else None)

    def prediction(self, path: str | None = None) -> Prediction:
        """The prediction of the track, once all its windows have been added.

        Without an audible segment, or where the model has labels and finds no music, there is no
        genre, and a warning says why.
        """
        manifest, info, genres = self._manifest, self._info, self._manifest.genres
        embedding = (self._embedding_sum / max(1, len(self._timeline))).astype(np.float32)
        no_genre = Prediction(
            path=path,
            genre=None,
            probabilities=dict.fromkeys(genres, 1 / len(genres)),
            timeline=[],
            embedding=embedding,
            duration=info.duration,
            warnings=[*info.warnings, NOTHING_AUDIBLE],
            listen=info.listen,
        )
        if not self._timeline:
            return no_genre
        labels = self._labels(embedding)
        if labels is not None and labels.kind != MUSIC:
            reason = f"{labels.describe()}: cannot tell a genre"
            return replace(no_genre, warnings=[*info.warnings, reason], labels=labels)
        table = np.concatenate(self._probabilities)
        if manifest.labels is not None:
            # A spoken introduction says nothing about the music that follows.
            music = manifest.labels.has_music(np.concatenate(self._label_logits))
            table = table[music] if music.any() else table
        probabilities = self._by_genre(aggregate(table, manifest.aggregation))
        ranked = dict(sorted(probabilities.items(), key=lambda item: -item[1]))
        return Prediction(
            path=path,
            genre=next(iter(ranked)),
            probabilities=ranked,
            timeline=sorted(self._timeline, key=lambda segment: segment.start),
            embedding=embedding,
            duration=info.duration,
            warnings=info.warnings,
            labels=labels,
            listen=info.listen,
        )

    def _labels(self, embedding: NDArray[np.float32]) -> SoundLabels | None:
        """Kind, styles, instruments and moods of the track, where the model has them."""
        if self._manifest.labels is not None:
            return self._manifest.labels.read(np.concatenate(self._label_logits))
        if self._manifest.music_detector is not None:
            return self._manifest.music_detector.read(embedding, self._info.changes)
        return None

    def _by_genre(self, probabilities: NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(self._manifest.genres, map(float, probabilities), strict=True))
