"""`/v1/classify` and `/v1/similar`: what takes audio files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from genrescope.service import schemas
from genrescope.service.collection import Collection
from genrescope.service.forms import Form, form_schema, name_of, read_form
from genrescope.service.pool import Event
from genrescope.service.problems import ProblemError, document, responses
from genrescope.service.state import Service, problem_of
from genrescope.service.work import Classify

router = APIRouter(prefix="/v1")

_LABELS = ("style", "instrument", "mood")
_FLAG = {"type": "boolean", "default": False}
_EVENT_STREAM = "text/event-stream"
_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}


@router.post(
    "/classify",
    response_model=schemas.Classified,
    responses=responses(408, 413, 415, 422, 503),
    openapi_extra=form_schema(
        file={**_FILES, "required": True},
        timeline=dict(_FLAG),
        embedding=dict(_FLAG),
        styles={"type": "boolean", "default": True},
        picture=dict(_FLAG),
        similar=dict(_FLAG),
    ),
)
async def classify(request: Request) -> Response:
    """Classify audio files.

    Each result is the JSON of `genrescope classify`, where `path` is the name that the client gave
    the file; or a problem document with that name, for a file that can't be decoded. A single such
    file makes the response a problem. With `Accept: text/event-stream` events are sent while the
    files are classified: `file`, `sound`, `segments`, `prediction`, `picture`, `similar`, `problem`
    and in the end `done`.
    """
    service: Service = request.app.state.service
    form = await read_form(request, service.settings.max_files)
    if not form.files:
        await form.data.close()
        raise ProblemError(422, "expected a file in the field called file")
    try:
        options = {
            name: form.flag(name) for name in ("timeline", "embedding", "picture", "similar")
        }
        options["styles"] = form.flag("styles", default=True)
    except ProblemError:
        await form.data.close()
        raise
    if _EVENT_STREAM in request.headers.get("accept", ""):
        stream = _events(service, form, options)
        return StreamingResponse(stream, media_type=_EVENT_STREAM)
    try:
        results = await _all(service, form.files, options)
    finally:
        await form.data.close()
    if len(results) == 1 and isinstance(results[0], ProblemError):
        raise results[0]
    shown = [
        {"path": name_of(file), **document(result.status, result.detail)}
        if isinstance(result, ProblemError)
        else result
        for file, result in zip(form.files, results, strict=True)
    ]
    return JSONResponse({"schema_version": schemas.SCHEMA_VERSION, "results": shown})


@router.post(
    "/similar",
    response_model=schemas.Similar,
    responses=responses(404, 408, 409, 413, 415, 422, 503),
    openapi_extra=form_schema(
        file={"type": "string", "format": "binary"},
        track={"type": "string", "maxLength": 64},
        n={"type": "integer", "minimum": 1, "maximum": 200, "default": 10},
        genre={"type": "string"},
        style={"type": "string"},
        instrument={"type": "string"},
        mood={"type": "string"},
        first_year={"type": "integer", "minimum": 0, "maximum": 9999},
        last_year={"type": "integer", "minimum": 0, "maximum": 9999},
        not_same_artist=dict(_FLAG),
        not_same_album=dict(_FLAG),
    ),
)
async def similar(request: Request) -> Response:
    """Find the tracks of the library that are most similar to a file, or to one of its tracks."""
    service: Service = request.app.state.service
    form = await read_form(request, 1)
    try:
        library = service.library
        fields = {name: form.fields.get(name) for name in ("track", "genre", *_LABELS)}
        n = form.number("n", 10, 1, 200) or 10
        first, last = (form.number(f"{end}_year", None, 0, 9999) for end in ("first", "last"))
        not_same = [form.flag(f"not_same_{what}") for what in ("artist", "album")]
        years = (
            None if first is None and last is None else (first or 0, 9999 if last is None else last)
        )
        if bool(form.files) == bool(fields["track"]):
            raise ProblemError(422, "expected either a file or the id of a track")
        position = None
        if form.files:
            event = await _prediction(service, form.files[0], {"content": True})
            query = _query(service, library, name_of(form.files[0]), event)
            position = await run_in_threadpool(library.position, query)
        else:
            query = await run_in_threadpool(library.query, str(fields["track"]))
    finally:
        await form.data.close()

    def find() -> list[dict[str, Any]]:
        labels = {name: fields[name] for name in _LABELS}
        [base] = library.filters([], fields["genre"], years, not_same_artist=False, **labels)
        allowed = replace(
            base,
            not_artist=query.entry.artist if not_same[0] else None,
            not_album=query.entry.album if not_same[1] else None,
        )
        return library.similar(query, n, allowed)

    found = await run_in_threadpool(find)
    version = schemas.SCHEMA_VERSION
    return JSONResponse({"schema_version": version, "tracks": found, "position": position})


async def _prediction(service: Service, upload: UploadFile, options: dict[str, bool]) -> Event:
    """The `prediction` event of an upload."""
    async with _kept(service, upload) as path:
        work = Classify(service.classifier, path, service.settings.max_seconds, **options)
        return await service.outcome(work, "prediction")


async def _all(
    service: Service, files: list[UploadFile], options: dict[str, bool]
) -> list[dict[str, Any] | ProblemError]:
    """Results in the order of the files; so many are in work as threads."""
    room = asyncio.Semaphore(service.settings.workers)
    own = {name: options[name] for name in ("timeline", "styles")}

    async def one(upload: UploadFile) -> dict[str, Any] | ProblemError:
        async with room:
            try:
                event = await _prediction(service, upload, own)
            except ProblemError as problem:
                return problem
        return _shown(upload, event, options)

    return list(await asyncio.gather(*map(one, files)))


async def _events(service: Service, form: Form, options: dict[str, bool]) -> AsyncIterator[bytes]:
    """Server-sent events for each file in turn."""
    own = {name: options[name] for name in ("timeline", "styles", "picture")}
    try:
        for number, upload in enumerate(form.files):
            name = name_of(upload)
            waiting = service.pool.waiting
            yield _event("file", number=number, path=name, waiting=waiting)
            async with _kept(service, upload) as path:
                most = service.settings.max_seconds
                content = options["similar"]
                work = Classify(service.classifier, path, most, content=content, **own)
                async for event in service.work(work):
                    kind = event["event"]
                    rest = {key: value for key, value in event.items() if key != "event"}
                    if kind == "failed":
                        problem = problem_of(event)
                        shown = document(problem.status, problem.detail)
                        yield _event("problem", number=number, path=name, **shown)
                    elif kind == "prediction":
                        shown = _shown(upload, event, options)
                        yield _event("prediction", number=number, prediction=shown)
                        if options["similar"] and shown["genre"] is not None:
                            for each in await _similar_to(service, name, event):
                                yield _event("similar", number=number, **each)
                    elif kind != "done":
                        yield _event(kind, number=number, **rest)
        yield _event("done")
    finally:
        await form.data.close()


async def _similar_to(service: Service, name: str, event: Event) -> list[dict[str, Any]]:
    """Similar tracks and the position on the map; none without a library of the same model."""
    if service.collection is None:
        return []
    try:
        library = service.collection
        query = await run_in_threadpool(_query, service, library, name, event)
        from genrescope.library.similar import TrackFilter

        found = await run_in_threadpool(library.similar, query, 10, TrackFilter())
        position = await run_in_threadpool(library.position, query)
    except ProblemError as problem:
        return [{"tracks": [], "position": None, "detail": problem.detail}]
    return [{"tracks": found, "position": position}]


def _query(service: Service, library: Collection, name: str, event: Event) -> Any:
    """An upload as a query of the library.

    Raises
    ------
    ProblemError
        409, when the library was made with another model; 422 for silence.
    """
    if library.model.sha256 != service.manifest.sha256:
        detail = "the library was made with another model: scan it again with this one"
        raise ProblemError(409, detail)
    genre = event["prediction"]["genre"]
    if genre is None:
        raise ProblemError(422, "; ".join(event["prediction"]["warnings"]))
    return library.query_of(name, event["embedding"], event["content"], genre)


@asynccontextmanager
async def _kept(service: Service, upload: UploadFile) -> AsyncIterator[Path]:
    """An upload as a file, which is written by another thread."""
    kept = service.folder.kept(upload.file)
    path = await run_in_threadpool(kept.__enter__)
    try:
        yield path
    finally:
        kept.__exit__(None, None, None)


def _shown(upload: UploadFile, event: Event, options: dict[str, bool]) -> dict[str, Any]:
    result: dict[str, Any] = {**event["prediction"], "path": name_of(upload)}
    if options["embedding"]:
        result["embedding"] = event["embedding"]
    return result


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(fields)}\n\n".encode()
