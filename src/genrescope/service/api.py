"""All of the API that takes no audio: the library, the models, the laboratory, and health."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.concurrency import run_in_threadpool

from genrescope.errors import printable
from genrescope.inference.bundle import fetched_bundles, shipped_bundles
from genrescope.library.map_page import look
from genrescope.service import laboratory, schemas
from genrescope.service.collection import Filter, name_of, public
from genrescope.service.guard import COOKIE, session_of
from genrescope.service.links import signed
from genrescope.service.problems import ProblemError, responses
from genrescope.service.state import Service
from genrescope.service.work import Draw

router = APIRouter()
_Operation = TypeVar("_Operation", bound=Callable[..., Any])


# What browsers play as it is; other files are converted.
_PLAYED = {
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
    ".wav": "audio/wav",
}
_M3U8 = "application/vnd.apple.mpegurl"
_REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_TrackId = Annotated[str, Path(max_length=64)]
_Sort = Literal["name", "artist", "album", "title", "year", "genre", "confidence", "duration"]


def _get(path: str, **described: Any) -> Callable[[_Operation], _Operation]:
    """Register an operation for GET, and for HEAD, which the document leaves out."""

    def register(operation: _Operation) -> _Operation:
        router.head(path, include_in_schema=False, response_model=None)(operation)
        return router.get(path, **described)(operation)

    return register


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


def _answer(**fields: Any) -> JSONResponse:
    return JSONResponse({"schema_version": schemas.SCHEMA_VERSION, **fields})


@_get(
    "/v1/tracks",
    response_model=schemas.Tracks,
    responses=responses(404, 409, 422),
    tags=["library"],
)
def tracks(
    request: Request,
    q: Annotated[str | None, Query(max_length=200, description="Words of name or album.")] = None,
    genre: Annotated[str | None, Query(max_length=100)] = None,
    min_confidence: Annotated[float | None, Query(ge=0, le=1)] = None,
    max_confidence: Annotated[float | None, Query(ge=0, le=1)] = None,
    first_year: Annotated[int | None, Query(ge=0, le=9999)] = None,
    last_year: Annotated[int | None, Query(ge=0, le=9999)] = None,
    corrected: bool | None = None,
    style: Annotated[str | None, Query(max_length=100)] = None,
    instrument: Annotated[str | None, Query(max_length=100)] = None,
    mood: Annotated[str | None, Query(max_length=100)] = None,
    max_duration: Annotated[float | None, Query(ge=0, description="Minutes.")] = None,
    sort: _Sort = "name",
    descending: bool = False,
    offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Response:
    """List the tracks of the library, page by page."""
    chosen = Filter(
        q,
        genre,
        min_confidence,
        max_confidence,
        first_year,
        last_year,
        corrected,
        style,
        instrument,
        mood,
        None if max_duration is None else 60 * max_duration,
    )
    found, total = _service(request).library.tracks(
        chosen, sort, descending=descending, offset=offset, limit=limit
    )
    return _answer(total=total, tracks=[public(entry) for entry in found])


@_get(
    "/v1/tracks/{track_id}",
    response_model=schemas.Track,
    responses=responses(404, 422),
    tags=["library"],
)
def track(request: Request, track_id: _TrackId) -> Response:
    """One track."""
    return _answer(**public(_service(request).library.track(track_id)))


@router.patch(
    "/v1/tracks/{track_id}",
    response_model=schemas.Track,
    responses=responses(404, 409, 413, 422, 503),
    tags=["library"],
)
def correct_track(request: Request, track_id: _TrackId, body: schemas.Correction) -> Response:
    """Correct a track's genre; null takes the correction back. The model's genre stays."""
    [entry] = _service(request).library.correct([track_id], body.genre)
    return _answer(**public(entry))


@router.patch(
    "/v1/tracks",
    response_model=schemas.TrackList,
    responses=responses(404, 409, 413, 422, 503),
    tags=["library"],
)
def correct_tracks(request: Request, body: schemas.Corrections) -> Response:
    """Correct the genre of several tracks."""
    found = _service(request).library.correct(body.ids, body.genre)
    return _answer(tracks=[public(entry) for entry in found])


@_get(
    "/v1/tracks/{track_id}/audio",
    response_class=Response,
    responses={
        200: {"content": {"audio/*": {}}, "description": "The file, or WAV."},
        **responses(404, 410, 413, 416, 422, 503, 507),
    },
    tags=["library"],
)
async def audio(request: Request, track_id: _TrackId) -> Response:
    """The audio of a track, as browsers play it."""
    service = _service(request)
    track = await run_in_threadpool(service.library.track, track_id)
    file = service.media(track)
    kind = _PLAYED.get(file.suffix.lower())
    if kind is not None:
        return FileResponse(file, media_type=kind)
    converted = await request.app.state.conversions.wav_of(file)
    return FileResponse(converted, media_type="audio/wav")


@_get(
    "/v1/tracks/{track_id}/picture",
    response_model=dict[str, Any],
    responses=responses(404, 410, 413, 422, 503),
    tags=["library"],
)
async def picture(request: Request, track_id: _TrackId) -> Response:
    """The waveform and the mel spectrogram of a track, base64 of unsigned bytes."""
    service = _service(request)
    track = await run_in_threadpool(service.library.track, track_id)
    file = service.media(track)
    with service.pool.room.one():
        event = await service.outcome(Draw(file), "picture")
    return _answer(**{name: value for name, value in event.items() if name != "event"})


@router.post(
    "/v1/recommend",
    response_model=schemas.TrackList,
    responses=responses(404, 409, 413, 422),
    tags=["library"],
)
def recommend(request: Request, body: schemas.Recommend) -> Response:
    """Recommend tracks by liked and disliked ones, each with a reason."""
    library = _service(request).library
    queries = [library.query(each) for each in (*body.likes, *body.dislikes)]
    has_years = body.first_year is not None or body.last_year is not None
    last = 9999 if body.last_year is None else body.last_year
    years = (body.first_year or 0, last) if has_years else None
    filters = library.filters(
        queries,
        body.genre,
        years,
        not_same_artist=body.not_same_artist,
        max_duration=None if body.max_duration is None else 60 * body.max_duration,
        style=body.style,
        instrument=body.instrument,
        mood=body.mood,
    )
    found = library.recommend(body.likes, body.dislikes, body.n, body.diversity, filters)
    return _answer(tracks=found)


@router.post(
    "/v1/playlist",
    response_model=schemas.TrackList,
    responses=responses(404, 409, 413, 422),
    tags=["library"],
)
def playlist(request: Request, body: schemas.Playlist) -> Response:
    """Lead from one track to another in small steps."""
    return _answer(tracks=_service(request).library.playlist(body.start, body.end, body.length))


@router.post(
    "/v1/playlist.m3u8",
    response_class=Response,
    responses={
        200: {"content": {_M3U8: {}}, "description": "The playlist."},
        **responses(404, 413, 422),
    },
    tags=["library"],
)
def playlist_file(request: Request, body: schemas.PlaylistFile) -> Response:
    """Export tracks as an M3U8 playlist, whose links play without the API key until they expire.

    Tracks whose files are at addresses are left out, for the service has no audio of them.
    """
    service = _service(request)
    found = [service.library.track(each) for each in body.ids]
    scheme = "https" if _is_https(request) else "http"
    origin = f"{scheme}://{request.headers['host']}"
    lines = ["#EXTM3U"]
    for track_id, entry in zip(body.ids, found, strict=True):
        if entry.is_remote:
            continue
        link = f"/v1/tracks/{track_id}/audio"
        if service.settings.api_key is not None:
            link = signed(link, service.settings.api_key, body.hours * 3600)
        name = " ".join(printable(name_of(entry)).split())
        lines += [f"#EXTINF:{round(entry.duration)},{name}", origin + link]
    headers = {"Content-Disposition": 'attachment; filename="playlist.m3u8"'}
    return Response("\n".join([*lines, ""]), media_type=_M3U8, headers=headers)


@_get(
    "/v1/map",
    response_model=schemas.MapResponse,
    responses=responses(404, 409, 503),
    tags=["library"],
)
def library_map(request: Request) -> Response:
    """The library's map."""
    return _answer(**_service(request).library.map())


@_get("/v1/models", response_model=schemas.Models, responses=responses(), tags=["models"])
def models(request: Request) -> Response:
    """The model in use, and the names of others."""
    service = _service(request)
    manifest = service.manifest
    model: dict[str, Any] = {
        "name": manifest.name,
        "sha256": manifest.sha256,
        "genres": manifest.genres,
    }
    model |= {"licence": manifest.licence, "has_styles": manifest.labels is not None}
    model["looks"] = [dict(zip(("colour", "shape"), look(n), strict=True)) for n in range(40)]
    library = service.collection
    about = None
    if library is not None:
        about = {"tracks": library.count(), "model": library.model.name}
        about |= {"genres": list(library.model.genres)}
        about |= {"same_model": library.model.sha256 == manifest.sha256}
    return _answer(model=model, shipped=shipped_bundles(), fetched=fetched_bundles(), library=about)


@_get("/v1/runs", response_model=schemas.Runs, responses=responses(), tags=["laboratory"])
def runs(request: Request) -> Response:
    """Finished runs of the laboratory."""
    return _answer(runs=laboratory.list_runs(_service(request).settings.runs))


@_get(
    "/v1/runs/{run_id}/report",
    response_class=HTMLResponse,
    responses=responses(404, 422),
    tags=["laboratory"],
)
def report(request: Request, run_id: _TrackId) -> Response:
    """The report of a run, a page."""
    page = laboratory.read_report(_service(request).settings.runs, run_id)
    return HTMLResponse(page, headers={"Content-Security-Policy": _REPORT_POLICY})


@_get(
    "/v1/comparison", response_model=schemas.Comparison, responses=responses(), tags=["laboratory"]
)
def comparison(request: Request) -> Response:
    """Figures of papers next to those of the runs."""
    return _answer(rows=laboratory.comparison(_service(request).settings.runs))


@router.post("/v1/session", status_code=204, response_class=Response, responses=responses(413, 422))
def session(request: Request, body: schemas.Key) -> Response:
    """Exchange the API key for a cookie, with which the page and its players send requests."""
    key = _service(request).settings.api_key
    if key is None:
        return Response(status_code=204)
    if not hmac.compare_digest(body.key.encode("utf-8", "replace"), key.encode()):
        raise ProblemError(401, "that is not the API key")
    response = Response(status_code=204)
    response.set_cookie(
        COOKIE, session_of(key), httponly=True, samesite="strict", secure=_is_https(request)
    )
    return response


def _is_https(request: Request) -> bool:
    """Whether the client sees an HTTPS address, perhaps of a reverse proxy."""
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))


@_get("/healthz", response_model=schemas.Health, responses=responses(), tags=["health"])
async def healthz() -> dict[str, str]:
    """The service answers."""
    return {"status": "ok"}


@_get("/readyz", response_model=schemas.Health, responses=responses(503), tags=["health"])
async def readyz(request: Request) -> dict[str, str]:
    """A file can be classified at once."""
    if not _service(request).pool.is_ready:
        raise ProblemError(503, "the model is being loaded", Retry_After="2")
    return {"status": "ready"}


@_get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Figures."}, **responses()},
    tags=["health"],
)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    text = _service(request).metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
