"""`genrescope serve`: the page and the HTTP API."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from genrescope.cli.info import note_outdated
from genrescope.cli.scan import LIBRARY
from genrescope.cli.terminal import notice
from genrescope.errors import GenrescopeError
from genrescope.parallel import available_cores
from genrescope.settings import default_model


def serve(
    host: str = typer.Option(
        "127.0.0.1", "--host", help="Address to listen at; another one needs GENRESCOPE_API_KEY."
    ),
    port: int = typer.Option(
        8000, "--port", min=0, max=65535, help="Port to listen at; 0 for a free one."
    ),
    model: str | None = typer.Option(
        None,
        "--model",
        "-m",
        help="A model's name, a run folder or a bundle.",
        show_default="the library's, or the one in use",
    ),
    library: str | None = LIBRARY,
    runs: Path = typer.Option(Path("runs"), "--runs", help="The laboratory's folder of runs."),
    workers: int | None = typer.Option(
        None, "--workers", min=1, max=64, help="Files classified at once; by default the cores."
    ),
    queue: int = typer.Option(16, "--queue", min=0, help="Requests that may wait; more get 503."),
    max_mb: int = typer.Option(256, "--max-mb", min=1, help="Largest upload."),
    max_minutes: float = typer.Option(120, "--max-minutes", min=0.1, help="Longest track."),
    allow_host: list[str] = typer.Option(
        [], "--allow-host", metavar="NAME", help="Also answer to this name, of a reverse proxy."
    ),
    open: bool = typer.Option(False, "--open", help="Open the page in the browser."),
) -> None:
    """Serve a page on which music is dropped, and an HTTP API.

    Only this machine can reach it. With --host others can, and then every request needs the API key
    that is in the environment variable GENRESCOPE_API_KEY.

    Examples:

      genrescope serve --open

      GENRESCOPE_API_KEY=$(cat key) genrescope serve --host 0.0.0.0 --allow-host music.example
    """
    try:
        from genrescope.service.app import create_app
        from genrescope.service.server import bind, run
        from genrescope.service.settings import API_KEY_VARIABLE, ServiceSettings
    except ImportError as error:
        raise GenrescopeError(
            f"serving needs {error.name}: pip install 'genrescope[app,library]'"
        ) from None
    place = _library(library)
    settings = ServiceSettings(
        host=host,
        model=model or _model_of(place) or default_model(),
        library=place,
        runs=runs,
        workers=workers or available_cores(),
        queue=queue,
        api_key=os.environ.get(API_KEY_VARIABLE) or None,
        allowed_hosts=tuple(allow_host),
        max_bytes=max_mb * 2**20,
        max_seconds=max_minutes * 60,
    )
    note_outdated(settings.model)
    app = create_app(settings)
    listening = bind(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}"
    notice(f"{address}  model {settings.model}, library {place or 'none'}; Ctrl-C stops it")
    if open:
        import threading
        import webbrowser

        threading.Timer(1.0, webbrowser.open, [address]).start()
    run(app, listening)


def _library(library: str | None) -> str | None:
    """The library's place; None where no library is named and there is none by default."""
    from genrescope.library.places import default_library
    from genrescope.library.store import is_library

    if library is not None:
        return library
    try:
        place = default_library()
    except GenrescopeError:
        return None
    return str(place) if is_library(place) else None


def _model_of(place: str | None) -> str | None:
    """Where the library's model was loaded from, so that uploads can be compared with it."""
    if place is None:
        return None
    from genrescope.library.store import Library

    return Library.open(place).model.source
