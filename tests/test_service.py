"""The HTTP API, over a real socket, with real workers."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genrescope
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
    with running(library=place, max_bytes=2**20, max_seconds=60, max_idle_seconds=2) as address:
        yield address


def post(address: str, *files: Path | bytes, path: str = "/v1/classify", **fields: Any) -> Any:
    sent = [
        ("file", ("track.mp3", each))
        if isinstance(each, bytes)
        else ("file", (each.name, each.read_bytes()))
        for each in files
    ]
    headers = fields.pop("headers", {})
    return requests.post(f"{address}{path}", files=sent, data=fields, headers=headers, timeout=60)


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

    def test_a_bad_file_alone_is_a_problem(self, served: str) -> None:
        assert problem(post(served, b"no music"), 422)

    def test_names_of_uploads_are_shown_and_never_used(self, served: str, music: Path) -> None:
        content = (music / "walking-bass.flac").read_bytes()
        for name in ("../../etc/passwd", "C:\\x\\passwd", "/etc/passwd", "a\nb/passwd"):
            sent = {"file": (name, content)}
            answer = requests.post(f"{served}/v1/classify", files=sent, timeout=60)
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

    def test_an_upload_that_pauses_is_dropped(self, served: str) -> None:
        host, port = served.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as line:
            head = f"POST /v1/classify HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 99\r\n"
            line.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x".encode())
            assert line.recv(100).startswith(b"HTTP/1.1 408")


class TestLibrary:
    def tracks(self, served: str, **query: Any) -> list[dict[str, Any]]:
        answer = requests.get(f"{served}/v1/tracks", params=query, timeout=30).json()
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
        assert problem(requests.get(f"{served}/v1/tracks?limit=0", timeout=9), 422)

    def test_no_answer_names_a_place_on_the_disk(
        self, served: str, place: str, music: Path
    ) -> None:
        [one, two, *_] = [each["id"] for each in self.tracks(served)]
        body = {"likes": [one], "dislikes": [two]}
        texts = [
            requests.get(f"{served}/v1/{each}", timeout=60).text
            for each in ("tracks", "map", "models", "runs", "comparison", f"tracks/{one}")
        ]
        form = {"track": (None, one)}
        texts += [requests.post(f"{served}/v1/similar", files=form, timeout=60).text]
        texts += [requests.post(f"{served}/v1/recommend", json=body, timeout=60).text]
        ends = {"from": one, "to": two, "length": 4}
        texts += [requests.post(f"{served}/v1/playlist", json=ends, timeout=60).text]
        for text in texts:
            assert str(music) not in text and place not in text and str(Path.home()) not in text

    def test_similar_tracks_are_those_of_the_command_line(self, served: str, place: str) -> None:
        from genrescope.library.similar import Space
        from genrescope.library.store import Library

        space = Space(Library.open(place))
        expected = space.nearest(space.find("walking-bass"), 3)
        [track] = self.tracks(served, q="walking")
        form = {"track": (None, track["id"]), "n": (None, "3")}
        found = requests.post(f"{served}/v1/similar", files=form, timeout=30).json()["tracks"]
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
        from genrescope.library.corrections import corrected, read_corrections
        from genrescope.library.sort import plan
        from genrescope.library.store import Library

        [track] = self.tracks(served, q="walking")
        where = f"{served}/v1/tracks/{track['id']}"
        after = requests.patch(where, json={"genre": "Metal"}, timeout=30).json()
        assert (after["genre"], after["corrected_genre"]) == ("jazz", "metal")
        assert [e["id"] for e in self.tracks(served, corrected=True)] == [track["id"]]
        assert self.tracks(served, genre="metal")[-1]["id"] == track["id"]
        library = Library.open(place)
        entries = corrected(library.entries(), read_corrections(library), library.model.genres)
        planned = plan(entries, tmp_path, "copy", genres=library.model.genres)
        [placed] = [each for each in planned.placed if each.entry.path == "walking-bass.flac"]
        assert placed.genre == "Metal"
        assert problem(requests.patch(where, json={"genre": "zzz"}, timeout=30), 409)
        requests.patch(where, json={"genre": None}, timeout=30)
        assert not self.tracks(served, corrected=True)

    def test_audio_can_be_played_from_any_place(self, served: str, music: Path) -> None:
        [track] = self.tracks(served, q="walking")
        where = f"{served}/v1/tracks/{track['id']}/audio"
        part = requests.get(where, headers={"Range": "bytes=10-19"}, timeout=30)
        assert part.status_code == 206
        assert part.content == (music / "walking-bass.flac").read_bytes()[10:20]
        for name in ("nothing", "..%2f..%2fetc%2fpasswd", "%2e%2e"):
            assert requests.get(f"{served}/v1/tracks/{name}/audio", timeout=9).status_code == 404


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
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ],
    )
    def test_other_pages_are_refused(
        self, served: str, headers: dict[str, str], status: int
    ) -> None:
        problem(requests.get(f"{served}/v1/tracks", headers=headers, timeout=9), status)

    def test_headers_of_every_answer(self, served: str) -> None:
        for path in ("/", "/page/app.js", "/v1/tracks", "/nothing"):
            headers = requests.get(f"{served}{path}", timeout=9).headers
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert "access-control-allow-origin" not in headers

    def test_health_and_figures(self, served: str) -> None:
        assert requests.get(f"{served}/healthz", timeout=9).json() == {"status": "ok"}
        text = requests.get(f"{served}/metrics", timeout=9).text
        assert 'genrescope_requests_total{status="200"}' in text
        assert "genrescope_work_seconds_bucket" in text


def test_another_address_needs_a_key() -> None:
    from genrescope.service import ServiceSettings

    with pytest.raises(genrescope.GenrescopeError, match="GENRESCOPE_API_KEY"):
        ServiceSettings(host="0.0.0.0")
    assert ServiceSettings(host="0.0.0.0", api_key=KEY).api_key == KEY


def test_a_full_queue_a_key_and_a_worker_that_dies(music: Path, tmp_path: Path) -> None:
    """One service for the three, for it takes seconds to start."""
    import multiprocessing

    others = multiprocessing.active_children()
    with running(queue=0, api_key=KEY, max_work_seconds=20) as address:
        file = music / "walking-bass.flac"
        headers = {"X-API-Key": KEY}
        assert problem(post(address, file), 401)
        assert requests.get(f"{address}/", timeout=9).ok
        session = requests.Session()
        assert (
            session.post(f"{address}/v1/session", json={"key": "x"}, timeout=9).status_code == 401
        )
        assert (
            session.post(f"{address}/v1/session", json={"key": KEY}, timeout=9).status_code == 204
        )
        assert session.get(f"{address}/v1/models", timeout=9).json()["model"]["name"] == "default"
        statuses: list[Any] = []

        def send() -> None:
            answer = post(address, *[file] * 8, headers=headers)
            statuses.append((answer.status_code, answer.headers.get("retry-after")))

        clients = [threading.Thread(target=send) for _ in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert {200, 503} == {status for status, _ in statuses}
        assert all(int(wait) >= 1 for status, wait in statuses if status == 503)

        [worker] = [each for each in multiprocessing.active_children() if each not in others]
        worker.kill()
        time.sleep(0.2)
        assert post(address, file, headers=headers).status_code in (200, 422)
        assert post(address, file, headers=headers).status_code == 200


def test_uploads_of_a_service_that_was_killed_are_removed(tmp_path: Path) -> None:
    from genrescope.service.uploads import UploadFolder

    first = UploadFolder(tmp_path)
    first.new()
    killed = tmp_path / "genrescope-uploads-killed"
    killed.mkdir()
    (killed / "lock").touch()
    (killed / "secret.mp3").touch()
    second = UploadFolder(tmp_path)
    assert not killed.exists()
    assert first.folder.exists()
    assert first.folder.stat().st_mode & 0o077 == 0
    first.close()
    second.close()
    assert not list(tmp_path.iterdir())


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
        [*command, "--library", str(place)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    until = iter(process.stdout.readline, b"")
    try:
        assert any(b"watching" in line for line in until)
        assert any(line.startswith(b"1 classified") for line in until)
        shutil.copy(music / "offbeat-organ.flac", folder)
        assert any(line.startswith(b"1 classified, 1 unchanged") for line in until)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)
