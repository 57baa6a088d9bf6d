"""What a thread of the service does with a file: classify it, draw it, or convert it.

Each function takes an event that stops it, and a function that is called with events for the
client, as `genrescope.service.pool.Pool` hands them over.
"""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from genrescope import audio
from genrescope.aggregation import aggregate
from genrescope.errors import CancelledError, TooLongError
from genrescope.inference import Classifier, SegmentPrediction
from genrescope.inference.prediction import rounded
from genrescope.service.picture import draw
from genrescope.service.pool import Report, Stop
from genrescope.service.uploads import UploadFolder

_PLAYED_RATE = 44100


@dataclass(frozen=True)
class Classify:
    """Classify an upload, which is a file with a name only for that time.

    Attributes
    ----------
    classifier
        The model.
    upload
        The content.
    folder
        Where it gets a name, by which decoders open it.
    max_seconds
        Longest audio that is classified.
    progress
        Whether to report `sound` and `segments`.
    timeline, styles
        Whether the prediction has them.
    content
        Whether to tell the content of the file, by which the library knows it.
    picture
        Whether to draw the file, too.
    """

    classifier: Classifier
    upload: BinaryIO
    folder: UploadFolder
    max_seconds: float
    progress: bool = False
    timeline: bool = False
    styles: bool = True
    content: bool = False
    picture: bool = False

    def __call__(self, stop: Stop, report: Report) -> None:
        """Report `sound`, `segments` for each half minute, `prediction` and `picture`."""
        with self.folder.kept(self.upload) as file:
            self._classify(file, stop, report)
            if self.picture:
                report({"event": "picture", **draw(file, stop)})

    def _classify(self, file: Path, stop: Stop, report: Report) -> None:
        header = audio.info(file)
        if header.duration > self.max_seconds:
            raise TooLongError(file, "too long")
        if self.progress:
            report({"event": "sound", "duration": round(header.duration, 3)})
        classifier = self.classifier
        rows: list[list[float]] = []

        def show(new: list[SegmentPrediction]) -> None:
            rows.extend([*segment.probabilities.values()] for segment in new)
            so_far = aggregate(np.array(rows), classifier.manifest.aggregation)
            report(
                {
                    "event": "segments",
                    "segments": [segment.to_dict() for segment in new],
                    "probabilities": rounded(dict(zip(classifier.genres, so_far, strict=True))),
                }
            )

        progress = show if self.progress else None
        prediction = classifier.predict(file, cancel=stop, progress=progress)
        result = prediction.to_dict(timeline=self.timeline)
        if not self.styles and prediction.labels is not None:
            for name in ("answer", *prediction.labels.to_dict()):
                result.pop(name, None)
        report(
            {
                "event": "prediction",
                "prediction": result,
                "embedding": [float(value) for value in prediction.embedding],
                "content": _content(file) if self.content else "",
            }
        )


@dataclass(frozen=True)
class Draw:
    """Draw the waveform and the mel spectrogram of a file."""

    file: Path

    def __call__(self, stop: Stop, report: Report) -> None:
        """Report `picture`."""
        report({"event": "picture", **draw(self.file, stop)})


@dataclass(frozen=True)
class Convert:
    """Write the first `max_seconds` of a file as WAV, which all browsers play."""

    file: Path
    target: Path
    max_seconds: float

    def __call__(self, stop: Stop, _: Report) -> None:
        """Write the file; nothing is reported."""
        blocks = audio.stream(self.file, sample_rate=_PLAYED_RATE, duration=self.max_seconds)
        # Not by libsndfile, whose errors don't tell a full disk from others.
        with wave.open(str(self.target), "wb") as target:
            target.setparams((1, 2, _PLAYED_RATE, 0, "NONE", ""))
            for block in blocks:
                if stop.is_set():
                    raise CancelledError("cancelled")
                samples = np.rint(32767 * np.clip(block, -1, 1)).astype("<i2")
                target.writeframesraw(samples.tobytes())


def _content(file: Path) -> str:
    from genrescope.library.content import content_of

    return content_of(file)
