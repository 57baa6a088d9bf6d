"""Schemas of the server-sent events of `/v1/classify`: the JSON in each event's `data`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema

from genrescope.service.problems import Problem
from genrescope.service.schemas import Point, Prediction, Segment, Track


class _Event(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    number: int
    """Which of the uploaded files it is about, counted from 0."""


class FileEvent(_Event):
    """`file`: the turn of a file has come."""

    path: str
    """The name that the client gave the file."""
    waiting: int
    """How many other files are in work or wait."""


class SoundEvent(_Event):
    """`sound`: the file can be decoded."""

    duration: float
    """Seconds, as its header says."""


class SegmentsEvent(_Event):
    """`segments`: the next half minute of the track is classified."""

    segments: list[Segment]
    """The new segments."""
    probabilities: dict[str, float]
    """Of each genre, from all segments so far."""


class PredictionEvent(_Event):
    """`prediction`: the track is classified."""

    prediction: Prediction
    """As in the response without events."""


class SimilarEvent(_Event):
    """`similar`: tracks of the library like this one, where `similar` was asked for."""

    tracks: list[Track]
    """The most similar first."""
    position: Point | None
    """On the map of the library; null where it has none."""
    detail: str | None = None
    """Why there are none; absent otherwise."""


class PictureEvent(_Event):
    """`picture`: the waveform and the mel spectrogram, where `picture` was asked for."""

    columns: int
    """Columns of both."""
    peaks: str
    """Base64 of unsigned bytes, one a column: the largest magnitude, 255 for full scale."""
    bands: int
    """Mel bands."""
    mel: str
    """Base64 of unsigned bytes, band by band from the lowest: 0 to 255 for the loudest 80 dB."""


class ProblemEvent(Problem, _Event):
    """`problem`: the file can't be classified; a problem document."""

    path: str
    """The name that the client gave the file."""


class DoneEvent(BaseModel):
    """`done`: the last event, an empty object."""


EVENTS: dict[str, type[BaseModel]] = {
    "file": FileEvent,
    "sound": SoundEvent,
    "segments": SegmentsEvent,
    "prediction": PredictionEvent,
    "similar": SimilarEvent,
    "picture": PictureEvent,
    "problem": ProblemEvent,
    "done": DoneEvent,
}
"""The schema of each kind of event."""


def event_schemas() -> dict[str, Any]:
    """The schemas of all events and of what they refer to, as components of OpenAPI."""
    kinds = [(model, "serialization") for model in EVENTS.values()]
    _, found = models_json_schema(kinds, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    return dict(found["$defs"])
