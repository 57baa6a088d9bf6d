"""Models of requests and responses, for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from genrescope.service.problems import Problem

SCHEMA_VERSION: Literal[1] = 1


class _Response(BaseModel):
    schema_version: Literal[1] = SCHEMA_VERSION


class Track(BaseModel):
    """A track of the library; `genre` is what the model said, `corrected_genre` the owner.

    The service has no audio of a track that `is_remote`: its file is at an address.
    """

    model_config = ConfigDict(extra="allow")

    id: str
    name: str
    is_remote: bool
    title: str | None
    artist: str | None
    album: str | None
    album_artist: str | None
    year: int | None
    genre_tag: str | None
    genre: str | None
    corrected_genre: str | None
    confidence: float
    kind: str | None
    styles: dict[str, float]
    instruments: dict[str, float]
    moods: dict[str, float]
    uses: dict[str, float]
    duration: float
    listen: str
    warnings: list[str]
    problem: str | None


class Tracks(_Response):
    """A page of tracks; `total` counts those of all pages."""

    total: int
    tracks: list[Track]


class TrackList(_Response):
    """Tracks in an order of their own."""

    tracks: list[Track]


class Similar(TrackList):
    """Similar tracks, and for an upload its position on the map."""

    position: dict[str, float] | None = None


class Segment(BaseModel):
    """The model's probabilities for one segment of a track."""

    start: float = Field(description="Seconds.")
    end: float = Field(description="Seconds.")
    genre: str = Field(description="The most probable genre.")
    probabilities: dict[str, float]


class Section(BaseModel):
    """A stretch of a track in which several segments agree on a genre."""

    start: float = Field(description="Seconds.")
    end: float = Field(description="Seconds.")
    genre: str
    probability: float = Field(description="Mean probability of the genre.")


class Prediction(BaseModel):
    """A classified file: the JSON of `genrescope classify`."""

    schema_version: Literal[1] = Field(description="Raised when a field changes or goes.")
    path: str = Field(description="The name that the client gave the file.")
    genre: str | None = Field(description="The most probable genre; null without music.")
    confidence: float = Field(description="Probability of the genre; 0 where there is none.")
    probabilities: dict[str, float] = Field(description="Of each genre; they sum to 1.")
    timeline: list[Segment] = Field(description="Empty unless `timeline` is true.")
    sections: list[Section] = Field(description="Empty unless `timeline` is true.")
    shares: dict[str, float] = Field(
        description="How much of the sections' time each genre takes; empty unless `timeline`."
    )
    duration: float = Field(description="Seconds.")
    warnings: list[str]
    listen: str = Field("full", description="How much was read; absent for the full track.")
    answer: str = Field(
        "",
        description="The genre in words; this and the following fields: only "
        "of models that tell them, and with `styles`.",
    )
    kind: str = Field("", description='"music", or what it is instead.')
    music: float = Field(0, description="Probability of music.")
    styles: dict[str, float] = Field({}, description="Probability of each; likeliest first.")
    instruments: dict[str, float] = Field({}, description="As `styles`.")
    moods: dict[str, float] = Field({}, description="As `styles`.")
    uses: dict[str, float] = Field({}, description="As `styles`: what the music is used for.")
    embedding: list[float] = Field([], description="Only with `embedding`.")


class FileProblem(Problem):
    """A file that could not be classified: a problem document with the file's name."""

    path: str


class Classified(_Response):
    """Results in the order of the files, each a prediction or a problem."""

    results: list[Prediction | FileProblem]


class MapGenre(BaseModel):
    """How a genre is drawn on the map."""

    name: str
    colour: str
    shape: str


class MapPoint(BaseModel):
    """A track on the map."""

    id: str
    name: str
    is_remote: bool
    genre: str | None
    confidence: float
    x: float
    y: float


class MapResponse(_Response):
    """A library's map; positions lie within -1 to 1, y upwards."""

    method: str
    genres: list[MapGenre]
    extent: list[float]
    tracks: list[MapPoint]


class Models(_Response):
    """The model in use, the models that can be used, and the library's."""

    model: dict[str, Any]
    shipped: list[str]
    fetched: list[str]
    library: dict[str, Any] | None


class Runs(_Response):
    """Finished runs of the laboratory."""

    runs: list[dict[str, Any]]


class RunName(BaseModel):
    """A run."""

    name: str


class ComparedFigure(BaseModel):
    """A paper's figure and that of a run, in percent: a row of `genrescope compare`."""

    paper: str
    table: str
    dataset: str
    protocol: str
    features: str
    model: str
    metric: str
    value_percent: float = Field(description="The paper's figure.")
    ours_percent: float | None
    interval_percent: list[float] | None = Field(description="Of ours: low and high end.")
    difference: float | None = Field(description="Ours minus the paper's, in points.")
    verdict: str | None
    differences: list[str] = Field(description="Of the protocols.")
    explanation: str | None
    run: RunName | None


class Comparison(_Response):
    """Figures of papers next to those of runs."""

    rows: list[ComparedFigure]


class Health(BaseModel):
    """Whether the service works."""

    status: str


class Correction(BaseModel):
    """A corrected genre; null takes the correction back."""

    model_config = ConfigDict(extra="forbid")

    genre: str | None = Field(max_length=100)


class Corrections(Correction):
    """A corrected genre for several tracks."""

    ids: list[str] = Field(min_length=1, max_length=5000)


class Recommend(BaseModel):
    """Liked and disliked tracks."""

    model_config = ConfigDict(extra="forbid")

    likes: list[str] = Field(min_length=1, max_length=200)
    dislikes: list[str] = Field(default=[], max_length=200)
    n: int = Field(20, ge=1, le=200)
    diversity: float = Field(0.3, ge=0, le=1)
    genre: str | None = Field(None, max_length=100)
    style: str | None = Field(None, max_length=100)
    instrument: str | None = Field(None, max_length=100)
    mood: str | None = Field(None, max_length=100)
    max_duration: float | None = Field(None, ge=0, description="Minutes.")
    first_year: int | None = Field(None, ge=0, le=9999)
    last_year: int | None = Field(None, ge=0, le=9999)
    not_same_artist: bool = False


class Playlist(BaseModel):
    """The two ends of a playlist, and how many tracks it has with them."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    start: str = Field(alias="from", max_length=64)
    end: str = Field(alias="to", max_length=64)
    length: int = Field(12, ge=2, le=200)


class PlaylistFile(BaseModel):
    """The tracks of a playlist in order, and how long its links work where there is an API key."""

    model_config = ConfigDict(extra="forbid")

    ids: list[Annotated[str, Field(max_length=64)]] = Field(min_length=1, max_length=5000)
    hours: int = Field(7 * 24, ge=1, le=365 * 24)


class Key(BaseModel):
    """An API key."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(max_length=1000)
