"""The service under clients that leave, dawdle, or send what no page would."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from genrescope.examples import write_examples
from libraries import entry, make_library
from serving import running
from test_service import connected, post, problem

requests = pytest.importorskip("requests")
pytestmark = pytest.mark.needs("app")


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    write_examples(folder, seconds=4)
    return folder / "walking-bass.flac"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library without files, some of it at an address."""
    rng = np.random.default_rng(0)
    tracks = [
        entry(f"{number}.mp3", rng.standard_normal(16), root="/music" if number else "s3://music")
        for number in range(8)
    ]
    folder = tmp_path_factory.mktemp("library")
    make_library(folder, tracks)
    return folder


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder))
        yield folder


@pytest.fixture(scope="module")
def served(place: Path, temporary: Path) -> Iterator[str]:
    with running(library=str(place), workers=2) as address:
        yield address


def uploads(temporary: Path) -> list[Path]:
    # Not `rglob`, for which no folder may go while it looks.
    files = [Path(folder, name) for folder, _, names in os.walk(temporary) for name in names]
    return [file for file in files if file.suffix != ".lock"]


def figure(served: str, name: str) -> float:
    text = requests.get(f"{served}/metrics", timeout=600).text
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def becomes(state: Callable[[], bool]) -> None:
    until = time.monotonic() + 600
    while not state():
        assert time.monotonic() < until
        time.sleep(0.05)


def is_at_rest(served: str, temporary: Path) -> bool:
    return figure(served, "genrescope_uploads") == 0 and not uploads(temporary)


def head_of(served: str, length: int, *more: str) -> bytes:
    lines = [
        "POST /v1/classify HTTP/1.1",
        f"Host: {urlsplit(served).netloc}",
        f"Content-Length: {length}",
        "Content-Type: multipart/form-data; boundary=edge",
        *more,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def form_of(content: bytes, name: str = "x.flac") -> bytes:
    field = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    return f"--edge\r\n{field}\r\n\r\n".encode() + content + b"\r\n--edge--\r\n"


def test_clients_that_leave_at_any_moment_leave_nothing_behind(
    served: str, song: Path, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = song.read_bytes()
    for accept in ("application/json", "text/event-stream"):
        request = form_of(content)
        request = head_of(served, len(request), f"Accept: {accept}") + request
        draw = random.Random(0)
        for cut in [*(draw.randrange(len(request)) for _ in range(8)), *[len(request)] * 4]:
            with connected(served) as line:
                line.sendall(request[:cut])
                time.sleep(draw.random() * 0.1)
    becomes(lambda: is_at_rest(served, temporary))
    assert figure(served, 'genrescope_requests_total{status="500"}') == 0
    assert figure(served, 'genrescope_requests_total{status="499"}') > 0
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert post(served, song, song).status_code == 200


def test_an_upload_that_only_trickles_is_dropped() -> None:
    # A service of its own: a client on a busy machine may pause for so long, too.
    with running(max_idle_seconds=1) as address, connected(address) as line:
        line.sendall(head_of(address, 10**6) + b"--edge\r\n")
        line.settimeout(0.1)
        received = b""
        until = time.monotonic() + 600
        while not received and time.monotonic() < until:  # it need not pause for a second
            with contextlib.suppress(TimeoutError):
                received = line.recv(100)
            if not received:
                line.sendall(b"x")
        assert received.startswith(b"HTTP/1.1 408")


def test_a_full_disk_is_told_and_passes(
    served: str, song: Path, temporary: Path, tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    large = tmp_path / "large.flac"
    large.write_bytes(song.read_bytes() + bytes(3 * 2**20))  # more than a form has in memory
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for file in (song, large):
        # No file may grow further than that, as on a disk of which so much is left.
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, before[1]))
        try:
            answer = post(served, file)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert "disk" in problem(answer, 507)
    becomes(lambda: is_at_rest(served, temporary))
    assert post(served, song).status_code == 200


def test_odd_names_of_uploads(served: str, song: Path) -> None:
    content = song.read_bytes()
    names = {
        'quote".flac': 'quote".flac',
        "line\nbreak.flac": r"line\nbreak.flac",
        "right \u202eto left.flac": r"right \u202eto left.flac",
        "أغنية 😀.flac": "أغنية 😀.flac",
        "x" * 300: "x" * 200,
        "<b>&amp;.flac": "<b>&amp;.flac",
        "": "upload",
        "..": "..",
    }
    for name, shown in names.items():
        form = form_of(content, name.replace('"', '\\"'))
        headers = {"Content-Type": "multipart/form-data; boundary=edge"}
        answer = requests.post(f"{served}/v1/classify", data=form, headers=headers, timeout=600)
        if answer.status_code == 200:
            assert answer.json()["results"][0]["path"] == shown, name
        else:  # a line break ends a header
            assert "\n" in name
            problem(answer, 422)
    raw = form_of(content, "NAME").replace(b"NAME", b"stra\xdfe.flac")  # not UTF-8
    answer = requests.post(f"{served}/v1/classify", data=raw, headers=headers, timeout=600)
    assert answer.json()["results"][0]["path"] == "straße.flac"


def test_head_is_answered_as_get_without_a_body(served: str) -> None:
    track = requests.get(f"{served}/v1/tracks", timeout=600).json()["tracks"][0]["id"]
    for path in ("/", "/page/app.js", "/v1/tracks", f"/v1/tracks/{track}", "/healthz", "/v1/zzz"):
        get, head = (
            requests.request(method, f"{served}{path}", timeout=600) for method in ("GET", "HEAD")
        )
        assert head.status_code == get.status_code, path
        assert head.headers["content-length"] == get.headers["content-length"]
        assert head.content == b""
    for method in ("OPTIONS", "DELETE", "PUT", "TRACE"):
        answer = requests.request(method, f"{served}/v1/tracks", timeout=600)
        problem(answer, 405)
        assert answer.headers["allow"] == "GET, HEAD, PATCH"


@pytest.mark.parametrize(
    "body",
    [
        b'{"likes": ["x"], "diversity": NaN}',
        b'{"likes": ["x"], "n": 1e999}',
        b'{"likes": ["x"], "n": ' + b"9" * 5000 + b"}",
        b'{"likes": ["x"], "n": 20.5}',
        b'{"likes": ["\\ud800"]}',
        b"[" * 200_000,
        b'{"likes": ' * 20_000,
        b'{"likes": ["x"], "genre": "\xff\xfe"}',
        b"null",
        b"",
    ],
)
def test_odd_json_is_refused(served: str, body: bytes) -> None:
    answer = requests.post(
        f"{served}/v1/recommend",
        data=body,
        headers={"Content-Type": "application/json"},
        timeout=600,
    )
    assert answer.status_code in (400, 404, 422)
    problem(answer, answer.status_code)


def test_json_that_is_too_large_is_refused_in_pieces_too(served: str) -> None:
    pieces = (b" " * 2**16 for _ in range(40))
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{served}/v1/recommend", data=pieces, headers=headers, timeout=600)
    assert "larger than 1 MB" in problem(answer, 413)


def test_odd_queries(served: str) -> None:
    host = urlsplit(served).netloc
    for query, statuses in (
        ("q=%ff%fe%00", (200,)),
        ("q=" + "x" * 5000, (422,)),
        ("q=" + "x" * 100_000, (400, 422)),  # 400 is of the server, for what comes in pieces
        ("genre=%ed%a0%80", (422,)),
        ("offset=-1", (422,)),
        ("offset=" + "9" * 400, (422,)),
        ("min_confidence=nan", (422,)),
        ("min_confidence=inf", (422,)),
        ("sort=name&sort=zzz", (422,)),
        ("&&&=&q", (200,)),
    ):
        connection = http.client.HTTPConnection(host, timeout=600)
        connection.request("GET", f"/v1/tracks?{query}")
        answer = connection.getresponse()
        assert answer.status in statuses, query[:40]
        assert b"Traceback" not in answer.read()
        connection.close()


def test_tracks_that_are_gone_or_at_addresses(served: str) -> None:
    tracks = requests.get(f"{served}/v1/tracks", timeout=600).json()["tracks"]
    [remote] = [track["id"] for track in tracks if track["is_remote"]]
    local = [track["id"] for track in tracks if not track["is_remote"]]
    for track, status in ((remote, 404), (local[0], 410)):
        for what in ("audio", "picture"):
            problem(requests.get(f"{served}/v1/tracks/{track}/{what}", timeout=600), status)
    for ends in ((remote, local[0]), (local[0], local[1])):
        body = {"from": ends[0], "to": ends[1], "length": 4}
        answer = requests.post(f"{served}/v1/playlist", json=body, timeout=600)
        found = [each["id"] for each in answer.json()["tracks"]]
        assert (found[0], found[-1]) == ends
    where = f"{served}/v1/tracks/{'0' * 20}"
    problem(requests.patch(where, json={"genre": "jazz"}, timeout=600), 404)
    answer = requests.patch(
        f"{served}/v1/tracks", json={"ids": [local[0], "0" * 20], "genre": "jazz"}, timeout=60
    )
    problem(answer, 404)
    assert requests.get(f"{served}/v1/tracks?corrected=true", timeout=600).json()["total"] == 0


def test_more_connections_than_are_kept_are_told_to_come_back(
    served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genrescope.service.server._MOST_CONNECTIONS", 2)
    with contextlib.ExitStack() as idle:
        for _ in range(2):
            idle.enter_context(connected(served))
        answer = requests.get(f"{served}/healthz", timeout=600)
    problem(answer, 503)
    assert int(answer.headers["retry-after"]) > 0
    monkeypatch.undo()
    becomes(lambda: requests.get(f"{served}/healthz", timeout=600).status_code == 200)


def test_the_more_clients_are_refused_the_longer_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    from genrescope.service.metrics import Metrics
    from genrescope.service.pool import Room
    from genrescope.service.problems import ProblemError
    from genrescope.service.settings import ServiceSettings

    # All of them at the same moment.
    still = SimpleNamespace(monotonic=lambda: 0.0)
    monkeypatch.setattr("genrescope.service.pool.time", still)
    room = Room(ServiceSettings(workers=2, queue=2), Metrics())  # a second a file, as yet unknown
    waits = []
    with contextlib.ExitStack() as taken:
        for _ in range(4):
            taken.enter_context(room.one())
        for _ in range(300):
            with pytest.raises(ProblemError) as refused, room.one():
                pass
            waits.append(int(refused.value.headers["Retry-After"]))
    assert waits[:5] == [2, 3, 3, 4, 4]
    assert waits == sorted(waits)
    assert waits[-1] == 60


def test_a_range_of_a_track_that_is_none(tmp_path: Path, song: Path) -> None:
    make_library(tmp_path / "library", [entry(song.name, np.ones(16), root=str(song.parent))])
    size = song.stat().st_size
    with running(library=str(tmp_path / "library")) as address:
        [track] = requests.get(f"{address}/v1/tracks", timeout=600).json()["tracks"]
        where = f"{address}/v1/tracks/{track['id']}/audio"
        head = requests.head(where, timeout=600)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(size)
        for wrong, status in (
            (f"bytes={size}-", 416),
            ("bytes=5-2", 400),
            ("bytes=x-y", 400),
            ("bytes", 400),
            ("bytes=-0", 416),
        ):
            answer = requests.get(where, headers={"Range": wrong}, timeout=600)
            assert answer.status_code == status, wrong
            problem(answer, status)
        several = requests.get(where, headers={"Range": "bytes=0-3,10-12"}, timeout=600)
        assert several.status_code == 206
        assert song.read_bytes()[10:13] in several.content
        many = ",".join(f"{2 * n}-{2 * n}" for n in range(1000))
        answer = requests.get(where, headers={"Range": f"bytes={many}"}, timeout=600)
        assert len(answer.content) <= size


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
def test_work_ends_when_its_client_leaves(
    served: str, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, accept: str
) -> None:
    import soundfile

    from genrescope.service import state

    events, put = list[str](), state._put

    def noted(loop: Any, queue: Any, event: dict[str, Any]) -> None:
        events.append(event["event"])
        put(loop, queue, event)

    monkeypatch.setattr(state, "_put", noted)
    long = tmp_path / "long.flac"
    noise = 0.1 * np.random.default_rng(0).standard_normal(8000 * 30)
    soundfile.write(long, np.tile(noise, 60), 8000)  # half an hour
    form = form_of(long.read_bytes())
    with connected(served) as line:
        line.sendall(head_of(served, len(form), f"Accept: {accept}") + form)
        becomes(lambda: bool(uploads(temporary)))
    becomes(lambda: events[-1:] in (["failed"], ["done"]))
    assert events[-1] == "failed"
    assert "prediction" not in events
    becomes(lambda: is_at_rest(served, temporary))


def test_refused_clients_wait_for_what_files_take_now() -> None:
    from genrescope.service.metrics import Metrics

    metrics = Metrics()
    for _ in range(1000):
        metrics.worked(0.1)
    for _ in range(100):
        metrics.worked(10.0)
    assert metrics.mean_seconds > 9


def test_a_conversion_on_a_full_disk_is_an_error_of_the_disk(song: Path) -> None:
    import errno

    from genrescope.service.pool import Stop
    from genrescope.service.work import Convert

    stop = Stop(threading.Event(), 60)
    stop.begin()
    with pytest.raises(OSError, match="No space left") as failed:
        Convert(song, Path("/dev/full"), 60.0)(stop, print)
    assert failed.value.errno == errno.ENOSPC


def test_one_map_is_drawn_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genrescope.service import collection, maps
    from genrescope.service.problems import ProblemError

    rng = np.random.default_rng(0)
    library = make_library(tmp_path, [entry("a.mp3", rng.standard_normal(16))])
    monkeypatch.setattr(maps, "_PATIENCE", 0.01)
    monkeypatch.setattr(maps, "_PATIENCE_FOR_NEW", 0.01)
    monkeypatch.setattr(collection, "_CHECKED_EVERY", -1.0)  # the library is looked at each time
    begun, draw = [], maps.draw_map
    may_end = [threading.Event(), threading.Event()]

    def slow(library: Any) -> Any:
        begun.append(library)
        assert may_end[len(begun) - 1].wait(600)
        return draw(library)

    monkeypatch.setattr(maps, "draw_map", slow)
    opened = collection.Collection(str(tmp_path))
    for number in range(3):
        with pytest.raises(ProblemError, match="being drawn"):
            opened.map()
        library.put([entry(f"{number}.mp3", rng.standard_normal(16))])
    assert len(begun) == 1
    may_end[0].set()
    monkeypatch.setattr(maps, "_PATIENCE", 600.0)
    opened.map()
    library.put([entry("b.mp3", rng.standard_normal(16))])
    # The map of before, while the next one is drawn.
    assert len(opened.map()["tracks"]) == 4
    assert len(begun) == 2
    may_end[1].set()
    monkeypatch.setattr(maps, "_PATIENCE_FOR_NEW", 600.0)
    assert len(opened.map()["tracks"]) == 5


def test_corrections_of_others_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from genrescope.library.corrections import correct
    from genrescope.library.similar import TrackFilter
    from genrescope.service import collection

    rng = np.random.default_rng(0)
    library = make_library(
        tmp_path, [entry(name, rng.standard_normal(16)) for name in ("a.mp3", "b.mp3")]
    )
    monkeypatch.setattr(collection, "_CHECKED_EVERY", -1.0)
    opened = collection.Collection(str(tmp_path))
    [first, second] = library.entries()
    query = opened.query(collection.id_of(second))
    [near] = opened.similar(query, 5, TrackFilter())
    assert near["corrected_genre"] is None
    correct(library, [first], "rock")
    assert opened.track(collection.id_of(first)).corrected_genre == "rock"
    [near] = opened.similar(query, 5, TrackFilter(genre="rock"))
    assert near["corrected_genre"] == "rock"
    opened.correct([collection.id_of(first)], None)
    assert opened.track(collection.id_of(first)).corrected_genre is None
    assert not opened.similar(query, 5, TrackFilter(genre="rock"))
