"""`/v1/classify` and `/v1/similar`: what takes audio files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from genrescope.errors import GenrescopeError
from genrescope.service import schemas
from genrescope.service.collection import Collection
from genrescope.service.event_schemas import EVENTS
from genrescope.service.forms import Form, form_schema, name_of, read_form
from genrescope.service.pool import Event
from genrescope.service.problems import ProblemError, document, problem_of_error, responses
from genrescope.service.state import Service, problem_of
from genrescope.service.work import Classify

router = APIRouter(prefix="/v1")
_Result = TypeVar("_Result")

_LABELS = ("style", "instrument", "mood")
_FLAG = {"type": "boolean", "default": False}
_EVENT_STREAM = "text/event-stream"
_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}


@router.post(
    "/classify",
    response_model=schemas.Classified,
    responses={
        200: {
            "description": "The results; or events, each of which has JSON of its own schema: "
            + ", ".join(f"`{kind}` of `{model.__name__}`" for kind, model in EVENTS.items()),
            "content": {_EVENT_STREAM: {"schema": {"type": "string"}}},
        },
        **responses(408, 413, 415, 422, 503, 507),
    },
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
    and in the end `done`. The data of each is an object, whose schema is named at the response 200.
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
        results = await _unless_gone(request, _all(service, form.files, options))
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
    responses=responses(404, 408, 409, 413, 415, 422, 503, 507),
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
        max_duration={"type": "number", "minimum": 0, "description": "Minutes."},
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
        longest = form.minutes("max_duration")
        not_same = [form.flag(f"not_same_{what}") for what in ("artist", "album")]
        years = (
            None if first is None and last is None else (first or 0, 9999 if last is None else last)
        )
        if bool(form.files) == bool(fields["track"]):
            raise ProblemError(422, "expected either a file or the id of a track")
        position = None
        if form.files:
            predicted = _prediction(service, form.files[0], content=True)
            event = await _unless_gone(request, predicted)
            query = _query(service, library, name_of(form.files[0]), event)
            position = await run_in_threadpool(library.position, query)
        else:
            query = await run_in_threadpool(library.query, str(fields["track"]))
    finally:
        await form.data.close()

    def find() -> list[dict[str, Any]]:
        labels = {name: fields[name] for name in _LABELS}
        [base] = library.filters(
            [],
            fields["genre"],
            years,
            not_same_artist=False,
            max_duration=longest and 60 * longest,
            **labels,
        )
        allowed = replace(
            base,
            not_artist=query.entry.artist if not_same[0] else None,
            not_album=query.entry.album if not_same[1] else None,
        )
        return library.similar(query, n, allowed)

    found = await run_in_threadpool(find)
    version = schemas.SCHEMA_VERSION
    return JSONResponse({"schema_version": version, "tracks": found, "position": position})


async def _unless_gone(request: Request, work: Coroutine[Any, Any, _Result]) -> _Result:
    """The result of work for a client; the work is cancelled when the client leaves.

    Raises
    ------
    ClientDisconnect
        When it has left.
    """

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    result, leaving = asyncio.create_task(work), asyncio.create_task(left())
    try:
        await asyncio.wait((result, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            raise ClientDisconnect
        return result.result()
    finally:
        result.cancel()
        leaving.cancel()


def _work(service: Service, upload: UploadFile, **options: bool) -> Classify:
    most = service.settings.max_seconds
    return Classify(service.classifier, upload.file, service.folder, most, **options)


async def _prediction(service: Service, upload: UploadFile, **options: bool) -> Event:
    """The `prediction` event of an upload."""
    return await service.outcome(_work(service, upload, **options), "prediction")


async def _all(
    service: Service, files: list[UploadFile], options: dict[str, bool]
) -> list[dict[str, Any] | ProblemError]:
    """Results in the order of the files; as many are processed at once as there are threads."""
    room = asyncio.Semaphore(service.settings.workers)
    own = {name: options[name] for name in ("timeline", "styles")}

    async def one(upload: UploadFile) -> dict[str, Any] | ProblemError:
        async with room:
            try:
                event = await _prediction(service, upload, **own)
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
            work = _work(service, upload, progress=True, content=options["similar"], **own)
            async with aclosing(service.work(work)) as found:
                async for event in found:
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
    except (ProblemError, GenrescopeError) as error:
        # The genre was found, whatever the library answers.
        problem = error if isinstance(error, ProblemError) else problem_of_error(error)
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


def _shown(upload: UploadFile, event: Event, options: dict[str, bool]) -> dict[str, Any]:
    result: dict[str, Any] = {**event["prediction"], "path": name_of(upload)}
    if options["embedding"]:
        result["embedding"] = event["embedding"]
    return result


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(fields)}\n\n".encode()
