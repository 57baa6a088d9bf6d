"""Models of requests and responses, for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from genrescope.service.problems import Problem

SCHEMA_VERSION: Literal[1] = 1


class _Schema(BaseModel):
    """Base of all: a text below a field is its description."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class _Response(_Schema):
    schema_version: Literal[1] = SCHEMA_VERSION
    """Raised when a field is renamed, removed or changes its meaning; fields may be added."""


class Track(_Schema):
    """A track of the library; `genre` is what the model said, `corrected_genre` the owner.

    The service has no audio of a track that `is_remote`: its file is at an address.
    """

    model_config = ConfigDict(extra="allow")

    id: str
    """Names the track in other requests."""
    name: str
    """Artist and title, or the file's name."""
    is_remote: bool
    """Whether its file is at an address, so that the service has no audio of it."""
    title: str | None
    """From the file's own tags, as artist, album, year and genre_tag."""
    artist: str | None
    """See `title`."""
    album: str | None
    """See `title`."""
    album_artist: str | None
    """See `title`."""
    year: int | None
    """See `title`."""
    genre_tag: str | None
    """See `title`."""
    genre: str | None
    """The model's genre; null for silence, other sounds, and files that can't be decoded."""
    corrected_genre: str | None
    """The owner's genre; null where nothing was corrected."""
    confidence: float
    """Probability of `genre`; 0 where there is none."""
    kind: str | None
    """"music", or what it is instead; null where the model can't tell."""
    styles: dict[str, float]
    """Probability of each; likeliest first."""
    instruments: dict[str, float]
    """As `styles`."""
    moods: dict[str, float]
    """As `styles`."""
    uses: dict[str, float]
    """As `styles`: what the music is used for."""
    duration: float
    """Seconds."""
    listen: str
    """How much of the track was read: "full", "auto" or a number of seconds."""
    warnings: list[str]
    """Problems that did not prevent a prediction."""
    problem: str | None
    """Why it could not be decoded; null where it could."""


class Tracks(_Response):
    """A page of tracks; `total` counts those of all pages."""

    total: int
    """Of all pages."""
    tracks: list[Track]
    """Of this page."""


class TrackList(_Response):
    """Tracks in an order of their own."""

    tracks: list[Track]
    """Some with further fields, such as `similarity` or `reason`."""


class Point(_Schema):
    """A position on the map, from -1 to 1."""

    x: float
    """To the right."""
    y: float
    """Upwards."""


class Similar(TrackList):
    """Similar tracks, and for an upload its position on the map."""

    position: Point | None = None
    """Of an upload; null for a track of the library, and without a map."""


class Segment(BaseModel):
    """The model's probabilities for one segment of a track."""

    start: float = Field(description="Seconds.")
    end: float = Field(description="Seconds.")
    genre: str = Field(description="The most probable genre.")
    probabilities: dict[str, float] = Field(description="Of each genre.")


class Section(BaseModel):
    """A stretch of a track in which several segments agree on a genre."""

    start: float = Field(description="Seconds.")
    end: float = Field(description="Seconds.")
    genre: str = Field(description="The genre of the stretch.")
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
    warnings: list[str] = Field(description="Problems that did not prevent a prediction.")
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

    path: str = Field(description="The name that the client gave the file.")


class Classified(_Response):
    """Results in the order of the files, each a prediction or a problem."""

    results: list[Prediction | FileProblem]
    """One for each file."""


class MapGenre(_Schema):
    """How a genre is drawn on the map."""

    name: str
    """The genre."""
    colour: str
    """As CSS has it."""
    shape: str
    """Of its tracks' marks."""


class MapPoint(Point):
    """A track on the map."""

    id: str
    """As in `Track`."""
    name: str
    """As in `Track`."""
    is_remote: bool
    """As in `Track`."""
    genre: str | None
    """The owner's genre, or the model's."""
    confidence: float
    """As in `Track`."""


class MapResponse(_Response):
    """A library's map; positions lie within -1 to 1, y upwards."""

    method: str
    """How the embeddings were brought to two dimensions."""
    genres: list[MapGenre]
    """Those that tracks have."""
    extent: list[float]
    """Half the width and half the height that the tracks take."""
    tracks: list[MapPoint]
    """All tracks with an embedding."""


class Models(_Response):
    """The model in use, the models that can be used, and the library's."""

    model: dict[str, Any]
    """Of the model in use: name, sha256, genres, licence, and how its genres are drawn."""
    shipped: list[str]
    """Models that come with the package."""
    fetched: list[str]
    """Models that `genrescope models fetch` has made."""
    library: dict[str, Any] | None
    """Tracks, model and genres of the library; null where there is none."""


class Runs(_Response):
    """Finished runs of the laboratory."""

    runs: list[dict[str, Any]]
    """Name, id and figures of each."""


class RunName(_Schema):
    """A run."""

    name: str
    """Its folder."""


class ComparedFigure(_Schema):
    """A paper's figure and that of a run, in percent: a row of `genrescope compare`."""

    paper: str
    """Short name of the paper."""
    table: str
    """Table or figure of the paper."""
    dataset: str
    """What the paper evaluates on."""
    protocol: str
    """How the paper divides the data set."""
    features: str
    """What the paper's model sees."""
    model: str
    """The paper's model."""
    metric: str
    """Such as "test accuracy"."""
    value_percent: float = Field(description="The paper's figure.")
    ours_percent: float | None
    """The run's figure; null where there is no run."""
    interval_percent: list[float] | None = Field(description="Of ours: low and high end.")
    difference: float | None = Field(description="Ours minus the paper's, in points.")
    verdict: str | None
    """How the two compare, in a word or a few."""
    differences: list[str] = Field(description="Of the protocols.")
    explanation: str | None
    """Why the figures differ, where that is known."""
    run: RunName | None
    """Null where the recipe was not run."""


class Comparison(_Response):
    """Figures of papers next to those of runs."""

    rows: list[ComparedFigure]
    """In the order of the papers' tables."""


class Health(_Schema):
    """Whether the service works."""

    status: str
    """"ok" or "ready"."""


class Correction(_Schema):
    """A corrected genre; null takes the correction back."""

    model_config = ConfigDict(extra="forbid")

    genre: str | None = Field(max_length=100)
    """One of the library's genres, in any spelling."""


class Corrections(Correction):
    """A corrected genre for several tracks."""

    ids: list[str] = Field(min_length=1, max_length=5000)
    """Of tracks."""


class Recommend(_Schema):
    """Liked and disliked tracks."""

    model_config = ConfigDict(extra="forbid")

    likes: list[str] = Field(min_length=1, max_length=200)
    """Ids of tracks."""
    dislikes: list[str] = Field(default=[], max_length=200)
    """Ids of tracks."""
    n: int = Field(20, ge=1, le=200)
    """How many tracks."""
    diversity: float = Field(0.3, ge=0, le=1)
    """0 recommends the most similar; 1 the most different from each other."""
    genre: str | None = Field(None, max_length=100)
    """Only of this genre, in any spelling."""
    style: str | None = Field(None, max_length=100)
    """Only with this style."""
    instrument: str | None = Field(None, max_length=100)
    """Only with this instrument."""
    mood: str | None = Field(None, max_length=100)
    """Only with this mood."""
    max_duration: float | None = Field(None, ge=0, description="Minutes.")
    first_year: int | None = Field(None, ge=0, le=9999)
    """Only of this year or later."""
    last_year: int | None = Field(None, ge=0, le=9999)
    """Only of this year or before."""
    not_same_artist: bool = False
    """Leave out tracks by the artists of the liked and disliked ones."""


class Playlist(_Schema):
    """The two ends of a playlist, and how many tracks it has with them."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    start: str = Field(alias="from", max_length=64)
    """Id of the first track."""
    end: str = Field(alias="to", max_length=64)
    """Id of the last track."""
    length: int = Field(12, ge=2, le=200)
    """Number of tracks with both ends."""


class PlaylistFile(_Schema):
    """The tracks of a playlist in order, and how long its links work where there is an API key."""

    model_config = ConfigDict(extra="forbid")

    ids: list[Annotated[str, Field(max_length=64)]] = Field(min_length=1, max_length=5000)
    """Of tracks, in order."""
    hours: int = Field(7 * 24, ge=1, le=365 * 24)
    """How long the links work."""


class Key(_Schema):
    """An API key."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(max_length=1000)
    """The API key of the service."""
