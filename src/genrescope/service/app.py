"""The application: the API, the page, and how errors are answered."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from genrescope import __version__
from genrescope.errors import GenrescopeError
from genrescope.service import api, uploads_api
from genrescope.service.conversions import Conversions
from genrescope.service.event_schemas import event_schemas
from genrescope.service.forms import check_names
from genrescope.service.guard import Guard
from genrescope.service.links import LINK_PARAMETERS
from genrescope.service.problems import MEDIA_TYPE, Problem, ProblemError, encoded, problem_of_error
from genrescope.service.settings import ServiceSettings
from genrescope.service.state import Service

_log = logging.getLogger(__name__)
_GONE = 499  # no status of HTTP, but what nginx counts such requests as


def create_app(settings: ServiceSettings) -> ASGIApp:
    """The application for a server such as uvicorn.

    Raises
    ------
    BundleError
        When the model does not exist.
    LibraryError
        When the library is missing or damaged.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await asyncio.to_thread(service.close)

    app = FastAPI(
        title="Genrescope",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(_check_parameters)],
    )
    app.state.service, app.state.conversions = service, Conversions(service)
    app.include_router(uploads_api.router)
    app.include_router(api.router)
    _answer_errors(app)
    _describe(app)
    _show_page(app)
    return Guard(app, settings, service.pool)


async def _check_parameters(request: Request) -> None:
    """Refuse parameters that an operation of the API does not have.

    Raises
    ------
    ProblemError
        422, when there is one.
    """
    if request.url.path.startswith("/v1/"):
        known = {field.alias for field in request.scope["route"].dependant.query_params}
        check_names(request.query_params, {*known, *LINK_PARAMETERS})


def _answer_errors(app: FastAPI) -> None:
    def answer(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
        return Response(encoded(status, detail), status, headers, MEDIA_TYPE)

    @app.exception_handler(ProblemError)
    async def problem(_: Request, error: ProblemError) -> Response:
        return answer(error.status, error.detail, error.headers)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers = {"Allow": ", ".join(_methods_of(app, request.url.path))}
        return answer(error.status_code, str(error.detail), headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first: dict[str, Any] = dict(error.errors()[0])
        where = ".".join(str(part) for part in first["loc"][1:])
        return answer(422, f"{where}: {first['msg']}" if where else str(first["msg"]))

    @app.exception_handler(GenrescopeError)
    async def known(request: Request, error: GenrescopeError) -> Response:
        return await problem(request, problem_of_error(error))

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=_GONE)  # which nobody gets; it is counted

    @app.exception_handler(Exception)
    async def unknown(_: Request, __: Exception) -> Response:
        return answer(500, "an error of the service, which is in its log")


def _methods_of(app: FastAPI, path: str) -> list[str]:
    """The methods of all operations with a path; Starlette names those of the first alone."""
    found = {"GET"} if path in ("/", "/openapi.json") else set[str]()
    for template, operations in app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path):
            found |= {method.upper() for method in operations}
    return sorted(found | {"HEAD"} if "GET" in found else found)


def _describe(app: FastAPI) -> None:
    """Serve the OpenAPI document, with the schemas of problems and of events."""

    @app.head("/openapi.json", include_in_schema=False)
    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        described = app.openapi()
        schemas = described.setdefault("components", {}).setdefault("schemas", {})
        schemas.setdefault("Problem", Problem.model_json_schema())
        for name, schema in event_schemas().items():
            schemas.setdefault(name, schema)
        return described


def _show_page(app: FastAPI) -> None:
    folder = Path(str(files("genrescope.service") / "page"))

    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(folder / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/page", StaticFiles(directory=folder))
