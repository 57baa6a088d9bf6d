"""The HTTP API, over a real socket, with real workers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import genrescope
from clips import hears_ctrl_c
from genrescope.examples import write_examples
from serving import running

requests = pytest.importorskip("requests")
pytestmark = pytest.mark.needs("app")
KEY = "a-long-secret"


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    write_examples(folder, seconds=4)
    return folder


@pytest.fixture(scope="module")
def place(music: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    from genrescope.library.scan import scan

    place = str(tmp_path_factory.mktemp("library"))
    scan([music], library=place)
    return place


@pytest.fixture(scope="module")
def served(place: str) -> Iterator[str]:
    with running(library=place, max_bytes=2**20, max_seconds=60) as address:
        yield address


def post(address: str, *files: Path | bytes, path: str = "/v1/classify", **fields: Any) -> Any:
    sent = [
        ("file", ("track.mp3", each))
        if isinstance(each, bytes)
        else ("file", (each.name, each.read_bytes()))
        for each in files
    ]
    headers = fields.pop("headers", {})
    return requests.post(f"{address}{path}", files=sent, data=fields, headers=headers, timeout=600)


def problem(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    fields = answer.json()
    assert fields["status"] == status
    assert fields.keys() == {"type", "title", "status", "detail"}
    return str(fields["detail"])


class TestClassify:
    def test_a_file_gets_the_prediction_of_the_command_line(self, served: str, music: Path) -> None:
        file = music / "walking-bass.flac"
        answer = post(served, file, timeline="true", embedding="true").json()
        [result] = answer["results"]
        expected = genrescope.load().predict(file)
        assert np.array_equal(np.float32(result.pop("embedding")), expected.embedding)
        assert result == json.loads(json.dumps(expected.to_dict())) | {"path": file.name}
        assert answer["schema_version"] == 1

    def test_one_bad_file_does_not_stop_the_others(self, served: str, music: Path) -> None:
        good = music / "offbeat-organ.flac"
        results = post(served, good, b"no music", good).json()["results"]
        assert [each.get("genre") for each in results] == [
            results[0]["genre"],
            None,
            results[0]["genre"],
        ]
        assert results[1]["status"] == 422
        assert results[1]["path"] == "track.mp3"

    def test_results_are_as_the_published_schema_says(self, served: str, music: Path) -> None:
        jsonschema = pytest.importorskip("jsonschema")
        schemas = requests.get(f"{served}/openapi.json", timeout=600).json()["components"]
        file = music / "offbeat-organ.flac"
        answer = post(served, file, b"no music", timeline="true", embedding="true").json()
        where = {"$ref": "#/components/schemas/Classified", "components": schemas}
        jsonschema.validate(answer, where)
        prediction, failed = answer["results"]
        assert prediction["timeline"] and prediction["sections"]
        for result, name in ((prediction, "Prediction"), (failed, "FileProblem")):
            assert set(result) <= set(schemas["schemas"][name]["properties"])

    def test_a_bad_file_alone_is_a_problem(self, served: str) -> None:
        assert problem(post(served, b"no music"), 422)

    def test_names_of_uploads_are_shown_and_never_used(self, served: str, music: Path) -> None:
        content = (music / "walking-bass.flac").read_bytes()
        for name in ("../../etc/passwd", "C:\\x\\passwd", "/etc/passwd", "a\nb/passwd"):
            sent = {"file": (name, content)}
            answer = requests.post(f"{served}/v1/classify", files=sent, timeout=600)
            assert answer.json()["results"][0]["path"].endswith("passwd")
            assert "/" not in answer.json()["results"][0]["path"]

    def test_events_come_while_a_file_is_classified(self, served: str, music: Path) -> None:
        file = music / "walking-bass.flac"
        answer = post(
            served, file, picture="true", similar="true", headers={"Accept": "text/event-stream"}
        )
        kinds = re.findall(r"^event: (\w+)$", answer.text, re.MULTILINE)
        assert kinds == ["file", "sound", "segments", "prediction", "similar", "picture", "done"]
        data = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:5] == "data:"]
        assert data[4]["position"].keys() == {"x", "y"}
        assert data[5]["columns"] > 10
        figures = [*data[2]["probabilities"].values(), *data[2]["segments"][0].values()]
        assert all(len(repr(each)) <= 8 for each in figures if isinstance(each, float))

    def test_events_are_as_the_published_schemas_say(self, served: str, music: Path) -> None:
        jsonschema = pytest.importorskip("jsonschema")
        document = requests.get(f"{served}/openapi.json", timeout=60).json()
        said = document["paths"]["/v1/classify"]["post"]["responses"]["200"]["description"]
        named = dict(re.findall(r"`(\w+)` of `(\w+)`", said))
        answer = post(
            served, music / "walking-bass.flac", b"no music", picture="true", similar="true",
            headers={"Accept": "text/event-stream"},
        )  # fmt: skip
        events = re.findall(r"^event: (\w+)\ndata: (.*)$", answer.text, re.MULTILINE)
        assert {kind for kind, _ in events} == named.keys()
        for kind, data in events:
            reference = f"#/components/schemas/{named[kind]}"
            schema = {"$ref": reference, "components": document["components"]}
            jsonschema.validate(json.loads(data), schema)
            known = document["components"]["schemas"][named[kind]].get("properties", {})
            assert set(json.loads(data)) <= set(known)

    def test_every_field_is_described(self, served: str) -> None:
        schemas = requests.get(f"{served}/openapi.json", timeout=60).json()["components"]["schemas"]
        bare = [
            f"{name}.{field}"
            for name, schema in schemas.items()
            for field, about in schema.get("properties", {}).items()
            if "description" not in about
        ]
        assert bare == []

    def test_limits_on_files_and_bytes(self, served: str) -> None:
        assert "larger than 1 MB" in problem(post(served, b"x" * 2**21), 413)
        assert problem(post(served, *[b"x"] * 33), 422)
        assert problem(post(served), 415)
        assert problem(post(served, b"x", timeline="perhaps"), 422)

    def test_too_long_a_track_is_refused(self, served: str, tmp_path: Path) -> None:
        import soundfile

        file = tmp_path / "long.flac"
        soundfile.write(file, np.zeros(8000 * 90, np.int16), 8000)
        assert problem(post(served, file), 413) == "longer than 1 minutes"

    def test_an_upload_that_pauses_is_dropped(self) -> None:
        # A service of its own: a client on a busy machine may pause for so long, too.
        with running(max_idle_seconds=0.5) as address, connected(address) as line:
            host, port = line.getpeername()
            head = f"POST /v1/classify HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 99\r\n"
            line.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x".encode())
            assert line.recv(100).startswith(b"HTTP/1.1 408")

    @pytest.mark.parametrize("version", ["1.0", "1.1"])
    def test_a_refusal_arrives_though_the_client_is_still_sending(
        self, served: str, version: str
    ) -> None:
        """And the connection stays open for the next request, except with HTTP/1.0."""
        with connected(served) as line:
            host, port = line.getpeername()
            length = 900_000
            line.sendall(
                f"POST /v1/classify HTTP/{version}\r\nHost: elsewhere:{port}\r\n"
                f"Content-Length: {length}\r\n\r\n".encode()
            )
            content = line.recv(65536)  # while nothing of the form is sent yet
            for _ in range(9):
                line.sendall(b"x" * (length // 9))
                time.sleep(0.02)
            if version == "1.1":
                end = f"Host: {host}:{port}\r\nConnection: close"
                line.sendall(f"GET /healthz HTTP/1.1\r\n{end}\r\n\r\n".encode())
            while block := line.recv(65536):
                content += block
        head, _, rest = content.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 421")
        body, _, second = rest.partition(b"HTTP/1.1 ")
        assert json.loads(body)["status"] == 421
        assert second[:3] == (b"200" if version == "1.1" else b"")


def connected(address: str) -> socket.socket:
    """A connection to a service."""
    parts = urlsplit(address)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=600)


def slow_reader_is_cut(address: str, path: str, connections: set[Any]) -> bool:
    """Whether a connection of which a byte is read at a time ends early."""
    host, port = urlsplit(address).hostname, urlsplit(address).port
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect((host, port))
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        end = time.monotonic() + 600
        line.recv(1)
        while connections and time.monotonic() < end:
            time.sleep(0.05)
            with contextlib.suppress(ConnectionResetError):
                line.recv(1)
        line.settimeout(600)
        length, block = 0, b"x"
        with contextlib.suppress(ConnectionResetError):
            while block := line.recv(2**16):
                length += len(block)
    return length < 9 * 2**20


def test_a_client_that_reads_a_byte_at_a_time_is_disconnected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its response, of one piece or many, is larger than what the system keeps of a connection."""
    import uvicorn
    from starlette.responses import FileResponse, PlainTextResponse

    from genrescope.service import server as module

    content = b"x" * 12 * 2**20
    (tmp_path / "file").write_bytes(content)
    responses = {"/text": PlainTextResponse(content), "/file": FileResponse(tmp_path / "file")}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await responses[scope["path"]](scope, receive, send)

    listening = module.bind("127.0.0.1", 0)
    config = uvicorn.Config(app, http=module.TimeoutProtocol, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        for path in responses:
            assert requests.get(f"{address}{path}", timeout=600).content == content
        monkeypatch.setattr(module, "_LOOK_SECONDS", 0.3)
        monkeypatch.setattr(module, "_STALLED_SECONDS", 0.3)
        for path in responses:
            while server.server_state.connections:  # of the client before
                time.sleep(0.01)
            assert slow_reader_is_cut(address, path, server.server_state.connections)
    finally:
        server.should_exit = True
        thread.join(600)


class TestLibrary:
    def tracks(self, served: str, **query: Any) -> list[dict[str, Any]]:
        answer = requests.get(f"{served}/v1/tracks", params=query, timeout=600).json()
        return list(answer["tracks"])

    def test_pages_filters_and_order(self, served: str, music: Path) -> None:
        everything = self.tracks(served)
        assert [each["name"] for each in everything] == sorted(f.stem for f in music.iterdir())
        assert self.tracks(served, offset=2, limit=3) == everything[2:5]
        assert [e["name"] for e in self.tracks(served, q="BASS walk")] == ["walking-bass"]
        sure = self.tracks(served, sort="confidence", descending=True)
        assert [e["confidence"] for e in sure] == sorted(
            (e["confidence"] for e in sure), reverse=True
        )
        assert all(e["confidence"] >= 0.9 for e in self.tracks(served, min_confidence=0.9))
        assert problem(requests.get(f"{served}/v1/tracks?limit=0", timeout=600), 422)

    def test_no_answer_names_a_place_on_the_disk(
        self, served: str, place: str, music: Path
    ) -> None:
        [one, two, *_] = [each["id"] for each in self.tracks(served)]
        body = {"likes": [one], "dislikes": [two]}
        texts = [
            requests.get(f"{served}/v1/{each}", timeout=600).text
            for each in ("tracks", "map", "models", "runs", "comparison", f"tracks/{one}")
        ]
        form = {"track": (None, one)}
        texts += [requests.post(f"{served}/v1/similar", files=form, timeout=600).text]
        texts += [requests.post(f"{served}/v1/recommend", json=body, timeout=600).text]
        ends = {"from": one, "to": two, "length": 4}
        texts += [requests.post(f"{served}/v1/playlist", json=ends, timeout=600).text]
        for text in texts:
            assert str(music) not in text and place not in text

    def test_filters_know_corrected_genres_in_any_spelling(self, served: str) -> None:
        [track] = self.tracks(served, q="walking")
        [like] = self.tracks(served, q="offbeat")
        where = f"{served}/v1/tracks/{track['id']}"
        requests.patch(where, json={"genre": "Hip Hop"}, timeout=600)
        genre = {"genre": "HIP-HOP"}
        found = [self.tracks(served, **genre)]
        form = {"track": (None, like["id"]), "genre": (None, "HIP-HOP")}
        answer = requests.post(f"{served}/v1/similar", files=form, timeout=600)
        found.append(answer.json()["tracks"])
        body = {"likes": [like["id"]], "genre": "hip hop"}
        answer = requests.post(f"{served}/v1/recommend", json=body, timeout=600)
        found.append(answer.json()["tracks"])
        form["genre"] = (None, "jazz")
        jazz = requests.post(f"{served}/v1/similar", files=form, timeout=600).json()["tracks"]
        requests.patch(where, json={"genre": None}, timeout=600)
        for tracks in found:
            assert track["id"] in [each["id"] for each in tracks]
        assert track["id"] not in [each["id"] for each in jazz]
        assert "it knows" in problem(
            requests.get(f"{served}/v1/tracks", params={"genre": "zzz"}, timeout=600), 422
        )

    @pytest.mark.parametrize(
        ("method", "path", "sent", "expected"),
        [
            ("GET", "tracks", {"params": {"genre": "jaz"}}, "genre: jaz: .*did you mean 'jazz'"),
            ("GET", "tracks", {"params": {"style": "tehcno"}}, "style: tehcno: "),
            ("GET", "tracks", {"params": {"gener": "jazz"}}, "gener: .*did you mean 'genre'"),
            ("GET", "models", {"params": {"x": "1"}}, "x: no such field"),
            ("POST", "recommend", {"json": {"style": "nonsense"}}, "style: nonsense: "),
            ("POST", "similar", {"files": {"mood": (None, "gald")}}, "mood: gald: "),
            ("POST", "similar", {"files": {"max_duration": (None, "-1")}}, "max_duration has"),
            ("POST", "similar", {"files": {"timelin": (None, "true")}}, "timelin: no such field"),
        ],
    )
    def test_wrong_names_and_values_are_refused(
        self, served: str, method: str, path: str, sent: dict[str, Any], expected: str
    ) -> None:
        [track] = self.tracks(served, q="walking")
        if "json" in sent:
            sent = {"json": {"likes": [track["id"]], **sent["json"]}}
        if "files" in sent:
            sent = {"files": {"track": (None, track["id"]), **sent["files"]}}
        answer = requests.request(method, f"{served}/v1/{path}", timeout=600, **sent)
        assert re.search(expected, problem(answer, 422))

    def test_longer_tracks_are_left_out(self, served: str) -> None:
        assert {each["duration"] for each in self.tracks(served)} == {4.0}
        assert len(self.tracks(served, max_duration=4 / 60)) == len(self.tracks(served))
        assert self.tracks(served, max_duration=3.9 / 60) == []

    @pytest.mark.slow
    def test_a_correction_does_not_wait_for_a_scan(self, served: str, place: str) -> None:
        import subprocess
        import sys

        hold = "import sys; from genrescope.library.places import locked\n"
        hold += "with locked(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
        holder = subprocess.Popen(
            [sys.executable, "-c", hold, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdin is not None and holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        [track] = self.tracks(served, q="walking")
        where = f"{served}/v1/tracks/{track['id']}"
        answer = requests.patch(where, json={"genre": "metal"}, timeout=600)
        assert "scan" in problem(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
        holder.communicate()
        assert requests.patch(where, json={"genre": None}, timeout=600).status_code == 200

    def test_similar_tracks_are_those_of_the_command_line(self, served: str, place: str) -> None:
        from genrescope.library.similar import Space
        from genrescope.library.store import Library

        space = Space(Library.open(place))
        expected = space.nearest(space.find("walking-bass"), 3)
        [track] = self.tracks(served, q="walking")
        form = {"track": (None, track["id"]), "n": (None, "3")}
        found = requests.post(f"{served}/v1/similar", files=form, timeout=600).json()["tracks"]
        assert [each["name"] for each in found] == [Path(e.path).stem for e, _ in expected]
        assert [each["similarity"] for each in found] == [round(s, 6) for _, s in expected]

    def test_an_upload_is_compared_too(self, served: str, music: Path) -> None:
        answer = post(served, music / "walking-bass.flac", path="/v1/similar", n="2").json()
        assert "walking-bass" not in [each["name"] for each in answer["tracks"]]  # itself
        assert len(answer["tracks"]) == 2
        assert abs(answer["position"]["x"]) <= 1

    def test_a_corrected_genre_is_kept_apart_and_used(
        self, served: str, place: str, tmp_path: Path
    ) -> None:
        from genrescope.library.corrections import corrected
        from genrescope.library.sort import plan
        from genrescope.library.store import Library

        [track] = self.tracks(served, q="walking")
        where = f"{served}/v1/tracks/{track['id']}"
        after = requests.patch(where, json={"genre": "Metal"}, timeout=600).json()
        assert (after["genre"], after["corrected_genre"]) == ("jazz", "metal")
        assert [e["id"] for e in self.tracks(served, corrected=True)] == [track["id"]]
        assert self.tracks(served, genre="metal")[-1]["id"] == track["id"]
        by_genre = [e["corrected_genre"] or e["genre"] for e in self.tracks(served, sort="genre")]
        assert by_genre == sorted(by_genre)
        library = Library.open(place)
        entries = corrected(library.entries(), library.model.genres)
        planned = plan(entries, tmp_path, "copy", genres=library.model.genres)
        [placed] = [each for each in planned.placed if each.entry.path == "walking-bass.flac"]
        assert placed.genre == "Metal"
        assert problem(requests.patch(where, json={"genre": "zzz"}, timeout=600), 422)
        requests.patch(where, json={"genre": None}, timeout=600)
        assert not self.tracks(served, corrected=True)

    def test_audio_can_be_played_from_any_place(self, served: str, music: Path) -> None:
        [track] = self.tracks(served, q="walking")
        where = f"{served}/v1/tracks/{track['id']}/audio"
        part = requests.get(where, headers={"Range": "bytes=10-19"}, timeout=600)
        assert part.status_code == 206
        assert part.content == (music / "walking-bass.flac").read_bytes()[10:20]
        for name in ("nothing", "..%2f..%2fetc%2fpasswd", "%2e%2e"):
            assert requests.get(f"{served}/v1/tracks/{name}/audio", timeout=600).status_code == 404


def test_a_track_that_browsers_cannot_play_is_converted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import soundfile

    from genrescope.library.scan import scan

    temporary, songs, place = tmp_path / "tmp", tmp_path / "songs", str(tmp_path / "library")
    temporary.mkdir()
    songs.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    rng = np.random.default_rng(0)
    for number in range(6):
        noise = 0.1 * rng.standard_normal(22050 * 3)
        soundfile.write(songs / f"{number}.aiff", noise, 22050)
    scan([songs], library=place)

    def converted() -> list[Path]:
        # Not `rglob`, for which no folder may go while it looks.
        files = [Path(folder, name) for folder, _, names in os.walk(temporary) for name in names]
        return [file for file in files if file.suffix == ".wav"]

    with running(library=place) as address:
        tracks = requests.get(f"{address}/v1/tracks", timeout=600).json()["tracks"]
        where = [f"{address}/v1/tracks/{track['id']}/audio" for track in tracks]
        whole = requests.get(where[0], timeout=600)
        assert whole.headers["content-type"] == "audio/wav"
        assert whole.content[:4] == b"RIFF"
        [file] = converted()
        made = file.stat().st_mtime_ns
        for start in (0, 1000, 90_000):
            part = requests.get(where[0], headers={"Range": f"bytes={start}-"}, timeout=600)
            assert part.status_code == 206
            assert part.content == whole.content[start:]
        assert file.stat().st_mtime_ns == made
        assert len(converted()) == 1
        for each in where[1:]:
            assert requests.get(each, timeout=600).status_code == 200
        assert len(converted()) == 4
        assert not file.exists()
        (songs / tracks[0]["name"]).with_suffix(".aiff").write_bytes(b"FORM, and nothing more")
        for _ in range(2):  # a failure is not kept
            problem(requests.get(where[0], timeout=600), 422)
        assert len(converted()) == 4
    assert converted() == []


def test_hostile_uploads_do_no_harm(served: str, music: Path) -> None:
    from hostile_uploads import crafted, faults_of, hostile

    files = [*hostile(sum(1 for _ in crafted()) + 8)][::3]
    assert len(files) > 10
    for name, content in files:
        assert faults_of(served, content, {})[1] == "", name
    assert post(served, music / "walking-bass.flac").status_code == 200


def test_it_does_as_its_openapi_document_says(served: str, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis")
    import subprocess
    import sys

    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis as s; s()", "run"]
    # No schema can say which bytes are music.
    options = ["--checks", "all", "--exclude-checks", "positive_data_acceptance"]
    options += ["--phases", "examples,fuzzing", "--max-examples", "4", "--seed", "1"]
    # However busy the machine is.
    options += ["--request-timeout", "600", "--suppress-health-check", "all"]
    ran = subprocess.run(
        [*command, f"{served}/openapi.json", *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]


class TestGuard:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Host": "evil.example"}, 421),
            ({"Host": "localhost.evil.example:80"}, 421),
            ({"Host": "localhost:1@evil.example"}, 421),
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ],
    )
    def test_other_pages_are_refused(
        self, served: str, headers: dict[str, str], status: int
    ) -> None:
        problem(requests.get(f"{served}/v1/tracks", headers=headers, timeout=600), status)

    def test_headers_of_every_answer(self, served: str) -> None:
        for path in ("/", "/page/app.js", "/v1/tracks", "/nothing"):
            headers = requests.get(f"{served}{path}", timeout=600).headers
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert "access-control-allow-origin" not in headers

    def test_health_and_figures(self, served: str) -> None:
        assert requests.get(f"{served}/healthz", timeout=600).json() == {"status": "ok"}
        text = requests.get(f"{served}/metrics", timeout=600).text
        assert 'genrescope_requests_total{status="200"}' in text
        assert "genrescope_work_seconds_bucket" in text


def test_another_address_needs_a_key() -> None:
    from genrescope.service import ServiceSettings

    with pytest.raises(genrescope.GenrescopeError, match="GENRESCOPE_API_KEY"):
        ServiceSettings(host="0.0.0.0")
    assert ServiceSettings(host="0.0.0.0", api_key=KEY).api_key == KEY


def test_a_full_queue_a_key_links_and_a_decoder_that_dies(
    music: Path, place: str, tmp_path: Path
) -> None:
    """One service for all of them, for it takes seconds to start."""
    from genrescope.audio import workers

    with running(queue=0, api_key=KEY, library=place) as address:
        file = music / "walking-bass.flac"
        headers = {"X-API-Key": KEY}
        assert problem(post(address, file), 401)
        assert requests.get(f"{address}/", timeout=600).ok
        session = requests.Session()
        assert (
            session.post(f"{address}/v1/session", json={"key": "x"}, timeout=600).status_code == 401
        )
        assert (
            session.post(f"{address}/v1/session", json={"key": KEY}, timeout=600).status_code == 204
        )
        assert session.get(f"{address}/v1/models", timeout=600).json()["model"]["name"] == "default"
        # A playlist's links play without the key, and nothing else.
        [track] = session.get(f"{address}/v1/tracks?q=walking", timeout=600).json()["tracks"]
        body = {"ids": [track["id"]], "hours": 1}
        text = session.post(f"{address}/v1/playlist.m3u8", json=body, timeout=600).text
        link = text.splitlines()[2]
        assert requests.get(link, timeout=600).content == file.read_bytes()
        for other in (
            link.replace("/audio", "/picture"),
            link.replace(track["id"], "0" * 20),
            link.replace("expires=1", "expires=2"),
            link.replace("expires=", "expires=-"),
            link.partition("?")[0],
            link[:-1],
        ):
            assert problem(requests.get(other, timeout=600), 401)
        assert problem(requests.patch(link, json={"genre": None}, timeout=600), 401)

        statuses: list[Any] = []

        def send() -> None:
            answer = post(address, *[file] * 8, headers=headers)
            statuses.append((answer.status_code, answer.headers.get("retry-after")))

        until_some_are_refused(send, 4, statuses)
        assert {200, 503} == {status for status, _ in statuses}
        assert all(int(wait) >= 1 for status, wait in statuses if status == 503)

        # Pictures wait in the same queue.
        def draw() -> None:
            where = f"{address}/v1/tracks/{track['id']}/picture"
            statuses.append((session.get(where, timeout=600).status_code, None))

        statuses.clear()
        until_some_are_refused(draw, 12, statuses)
        assert {200, 503} == {status for status, _ in statuses}

        # Decoders that die are replaced.
        for worker in workers.current_pool()._idle:
            worker.process.kill()
            worker.process.wait()
        assert post(address, file, headers=headers).status_code == 200


def until_some_are_refused(ask: Callable[[], None], clients: int, statuses: list[Any]) -> None:
    """Let clients ask at once; again where a busy machine let one after the other ask."""
    for _ in range(20):
        threads = [threading.Thread(target=ask) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if 503 in {status for status, _ in statuses}:
            return


def test_links_expire() -> None:
    from urllib.parse import parse_qsl, urlsplit

    from genrescope.service.links import is_signed, signed

    path = "/v1/tracks/x/audio"
    for seconds, expected in ((60, True), (-60, False), (10**9, False)):
        query = dict(parse_qsl(urlsplit(signed(path, KEY, seconds)).query))
        assert is_signed(path, query, KEY) == expected
        assert not is_signed(path, query, "another key")
    assert not is_signed(path, {}, KEY)


def test_a_library_without_music_compares_and_draws_nothing(tmp_path: Path) -> None:
    from genrescope.service.collection import Collection
    from genrescope.service.problems import ProblemError
    from libraries import entry, make_library

    make_library(tmp_path, [entry("silence.mp3", np.zeros(16), genre=None)])
    collection = Collection(str(tmp_path))
    for ask in (collection.map, lambda: collection.query_of("x.mp3", [0.0] * 16, "x", "jazz")):
        with pytest.raises(ProblemError, match="no track yet that has a genre") as caught:
            ask()
        assert caught.value.status == 409


@pytest.mark.slow
def test_a_title_can_not_add_lines_to_a_playlist(tmp_path: Path) -> None:
    from libraries import entry, make_library

    odd = "one\n/etc/passwd\r#EXTINF:1,two"
    tracks = [entry(f"{n}.mp3", np.eye(16)[n], title=odd, artist="a") for n in range(3)]
    # The service has no audio of a track at an address.
    tracks.append(entry("3.mp3", np.eye(16)[3], root="s3://bucket"))
    make_library(tmp_path / "library", tracks)
    with running(library=str(tmp_path / "library")) as address:
        found = requests.get(f"{address}/v1/tracks", timeout=600).json()["tracks"]
        assert sorted(each["is_remote"] for each in found) == [False] * 3 + [True]
        ids = [each["id"] for each in found]
        answer = requests.post(f"{address}/v1/playlist.m3u8", json={"ids": ids}, timeout=600)
        lines = answer.text.splitlines()
    assert len(lines) == 7
    assert all(line.startswith(("#", "http://127.0.0.1")) for line in lines)


@pytest.mark.slow
def test_the_printed_port_is_the_one_it_listens_at(tmp_path: Path) -> None:
    import signal
    import subprocess
    import sys

    command = [sys.executable, "-m", "genrescope", "serve", "--port", "0", "--workers", "1"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
        # nohup, which may have started the tests, has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    try:
        assert process.stderr is not None
        address = process.stderr.readline().split()[0].decode()
        assert requests.get(f"{address}/healthz", timeout=600).json() == {"status": "ok"}
    finally:
        process.send_signal(signal.SIGHUP)  # of a terminal that is closed
        assert b"Traceback" not in process.communicate(timeout=600)[1]
        assert process.returncode == 0


def test_uploads_of_a_service_that_was_killed_are_removed(tmp_path: Path) -> None:
    from genrescope.service.uploads import UploadFolder

    first = UploadFolder(tmp_path)
    first.new()
    killed = tmp_path / "genrescope-uploads-killed"
    killed.mkdir()
    (killed / "scratch.lock").touch()
    (killed / "secret.mp3").touch()
    second = UploadFolder(tmp_path)
    assert not killed.exists()
    assert first.folder.exists()
    assert first.folder.stat().st_mode & 0o077 == 0
    first.close()
    second.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_file_that_arrives_during_the_first_scan_is_found(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    from genrescope.cli import scan as module
    from genrescope.cli.engines import Engine
    from genrescope.library.store import Library

    folder, place = tmp_path / "music", str(tmp_path / "library")
    folder.mkdir()
    shutil.copy(music / "walking-bass.flac", folder)
    scan_once, scans = module._scan_once, []

    def with_arrival(*arguments: Any) -> bool:
        failed = scan_once(*arguments)
        scans.append(len(Library.open(place).entries()))
        if len(scans) == 2:
            raise KeyboardInterrupt
        # The first scan has listed the folder already.
        shutil.copy(music / "offbeat-organ.flac", folder)
        return failed

    monkeypatch.setattr(module, "_scan_once", with_arrival)
    with pytest.raises(KeyboardInterrupt):
        module.scan(
            [str(folder)], place, "default", False, 1, Engine.local, None, "full", True, True
        )
    assert scans == [1, 2]


def test_a_watched_folder_is_scanned_again(music: Path, tmp_path: Path) -> None:
    import shutil
    import signal
    import subprocess
    import sys

    folder, place = tmp_path / "music", tmp_path / "library"
    folder.mkdir()
    shutil.copy(music / "walking-bass.flac", folder)
    command = [sys.executable, "-m", "genrescope", "scan", str(folder), "--watch"]
    process = subprocess.Popen(
        [*command, "--library", str(place)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=hears_ctrl_c,
    )
    assert process.stdout is not None
    until = iter(process.stdout.readline, b"")
    try:
        assert any(b"watching" in line for line in until)
        assert any(line.startswith(b"1 classified") for line in until)
        shutil.copy(music / "offbeat-organ.flac", folder)
        assert any(line.startswith(b"1 classified, 1 unchanged") for line in until)
        # As when a disk is taken away and comes back: nothing is reported of the old folder.
        folder.rename(tmp_path / "away")
        folder.mkdir()
        shutil.copy(music / "walking-bass.flac", folder)
        assert any(b" unchanged" in line for line in until)
        shutil.copy(music / "four-on-the-floor.flac", folder)
        assert any(line.startswith(b"1 classified") for line in until)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=600)


def test_the_unit_of_systemd_is_valid_and_sandboxed(tmp_path: Path) -> None:
    import shutil
    import subprocess

    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    unit = tmp_path / "genrescope.service"
    text = (Path(__file__).parents[1] / "deploy" / unit.name).read_text(encoding="utf-8")
    # What it starts is not installed there.
    unit.write_text(text.replace("/opt/genrescope/bin/genrescope", "/bin/true"), encoding="utf-8")
    for options in (["verify"], ["security", "--offline=true", "--threshold=20"]):
        ran = subprocess.run(
            ["systemd-analyze", *options, str(unit)], capture_output=True, text=True, check=False
        )
        if "Unknown" in ran.stderr or "unrecognized option" in ran.stderr:
            pytest.skip("an older systemd")
        assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr
