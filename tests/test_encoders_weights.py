"""Weights: downloaded from a real (local) server that misbehaves, checked, read without pickle."""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from genrescope.encoders import Weights
from genrescope.encoders import weights as files
from genrescope.encoders.published import PUBLISHED
from genrescope.encoders.registry import encoder_class, published_weights
from genrescope.encoders.weights import WeightsError, fetch, find, is_here, keep, obtain

CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Server(ThreadingHTTPServer):
    """Gives CONTENT; its attributes say how it misbehaves, and it notes what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.breaks: list[int] = []  # bytes after which the next answers break off
        self.ranges = True
        self.is_endless = False
        self.status = 200
        self.asked: list[str | None] = []

    def weights(self, sha256: str | None = None) -> Weights:
        sha256 = sha256 or hashlib.sha256(CONTENT).hexdigest()
        url = f"http://127.0.0.1:{self.server_port}/toy.bin"
        return Weights("toy.bin", url, sha256, len(CONTENT), "MIT", "a toy")


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if self.server.status != 200 or first >= len(CONTENT):
            self.send_error(self.server.status if self.server.status != 200 else 416)
            return
        if self.server.is_endless:
            self.send_response(200)
            self.end_headers()
            with suppress(ConnectionError):  # when the client has had enough
                while True:
                    self.wfile.write(CONTENT)
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(CONTENT) - first))
        self.end_headers()
        stop = first + self.server.breaks.pop(0) if self.server.breaks else None
        self.wfile.write(CONTENT[first:stop])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=partial(running.serve_forever, poll_interval=0.01))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("GENRESCOPE_OFFLINE", raising=False)
    return tmp_path / "genrescope" / "weights"


class TestFetch:
    def test_a_file_comes_whole_and_is_asked_for_once(self, server: Server, folder: Path) -> None:
        seen: list[tuple[int, int]] = []
        path = fetch(server.weights(), lambda have, total: seen.append((have, total)))
        assert path == folder / "toy.bin"
        assert path.read_bytes() == CONTENT
        assert [p.name for p in folder.iterdir()] == ["toy.bin"]
        assert seen[-1] == (len(CONTENT), len(CONTENT))
        assert len(seen) > 1
        assert fetch(server.weights()) == obtain(server.weights()) == path
        assert server.asked == [None]

    def test_only_the_first_digits_may_be_known(self, server: Server) -> None:
        weights = server.weights(hashlib.sha256(CONTENT).hexdigest()[:8])
        assert fetch(weights).read_bytes() == CONTENT

    def test_a_wrong_hash_leaves_nothing(self, server: Server, folder: Path) -> None:
        with pytest.raises(
            WeightsError, match=r"not the published toy.bin: SHA-256 \w{8}…, not 0000"
        ):
            fetch(server.weights("0000"))
        assert not list(folder.iterdir())

    def test_a_broken_connection_is_gone_on_with(self, server: Server) -> None:
        server.breaks = [1_000_000, 500_000]
        assert fetch(server.weights()).read_bytes() == CONTENT
        assert server.asked == [None, "bytes=1000000-", "bytes=1500000-"]

    def test_a_later_call_resumes(self, server: Server, folder: Path) -> None:
        server.breaks = [1_000_000, 0]
        with pytest.raises(WeightsError, match=r"broke off.*: download http.* and put it at /"):
            fetch(server.weights())
        assert (folder / "toy.bin.part").stat().st_size == 1_000_000
        assert not (folder / "toy.bin").exists()
        assert fetch(server.weights()).read_bytes() == CONTENT
        assert server.asked[2:] == ["bytes=1000000-"]

    def test_a_server_without_ranges_starts_over(self, server: Server) -> None:
        server.breaks = [1_000_000]
        server.ranges = False
        assert fetch(server.weights()).read_bytes() == CONTENT

    def test_a_part_that_is_whole_is_enough(self, server: Server, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "toy.bin.part").write_bytes(CONTENT)
        assert fetch(server.weights()).read_bytes() == CONTENT

    def test_a_part_of_something_else_is_thrown_away(self, server: Server, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "toy.bin.part").write_bytes(b"x" * 1000)
        with pytest.raises(WeightsError, match="not the published"):
            fetch(server.weights())
        assert fetch(server.weights()).read_bytes() == CONTENT

    def test_a_server_that_sends_too_much_is_left(self, server: Server, folder: Path) -> None:
        server.is_endless = True
        with pytest.raises(WeightsError, match="not the published"):
            fetch(server.weights())
        assert not list(folder.iterdir())

    def test_several_at_once_download_once(self, server: Server, folder: Path) -> None:
        found: list[bytes] = []
        each = [
            threading.Thread(target=lambda: found.append(fetch(server.weights()).read_bytes()))
            for _ in range(4)
        ]
        for thread in each:
            thread.start()
        for thread in each:
            thread.join()
        assert found == [CONTENT] * 4
        assert [path.name for path in folder.iterdir()] == ["toy.bin"]
        assert server.asked == [None]

    @pytest.mark.parametrize("status", [404, 503])
    def test_a_refusal_is_one_line(self, server: Server, status: int) -> None:
        server.status = status
        with pytest.raises(WeightsError, match=r"^toy.bin: can't be downloaded \(.+\): download"):
            fetch(server.weights())

    def test_no_network_says_which_file_to_put_where(self, server: Server, folder: Path) -> None:
        weights = server.weights()
        server.server_close()
        with pytest.raises(WeightsError) as error:
            fetch(weights)
        assert str(error.value).endswith(f"download {weights.url} and put it at {folder}/toy.bin")
        assert "\n" not in str(error.value)

    def test_offline_nothing_is_asked_for(
        self, server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GENRESCOPE_OFFLINE", "1")
        with pytest.raises(WeightsError, match=f"OFFLINE is set: .* put it at {folder}/toy.bin$"):
            obtain(server.weights())
        assert server.asked == []
        folder.mkdir(parents=True)
        (folder / "toy.bin").write_bytes(CONTENT)
        assert obtain(server.weights()) == folder / "toy.bin"


class TestFind:
    weights = Weights("w.bin", "http://x/w.bin", hashlib.sha256(b"good").hexdigest(), 4, "MIT", "")

    def test_a_given_file_or_folder(self, tmp_path: Path) -> None:
        (tmp_path / "w.bin").write_bytes(b"good")
        assert find(self.weights, tmp_path) == find(self.weights, tmp_path / "w.bin")
        (tmp_path / "w.bin").write_bytes(b"evil")
        with pytest.raises(WeightsError, match=f"^{tmp_path}/w.bin: not the published w.bin"):
            find(self.weights, tmp_path / "w.bin")

    def test_a_cached_file_that_changed_is_refused(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "w.bin").write_bytes(b"good")
        assert obtain(self.weights) == folder / "w.bin"
        (folder / "w.bin").write_bytes(b"changed")
        with pytest.raises(WeightsError, match="not the published"):
            obtain(self.weights)

    def test_what_is_not_there(self, tmp_path: Path, folder: Path) -> None:
        with pytest.raises(WeightsError, match="no such file"):
            find(self.weights, tmp_path / "other.bin")
        with pytest.raises(WeightsError, match=f"not here: .* put it at {folder}/w.bin"):
            find(self.weights)
        deeper = tmp_path / "given" / "deeper"
        deeper.mkdir(parents=True)
        (deeper / "w.bin").write_bytes(b"good")
        with pytest.raises(WeightsError, match=r"given: no w.bin in it \(folders in it are not"):
            find(self.weights, tmp_path / "given")

    def test_a_file_that_was_given_can_be_kept(self, tmp_path: Path, folder: Path) -> None:
        (tmp_path / "w.bin").write_bytes(b"good")
        keep(self.weights, find(self.weights, tmp_path))
        assert is_here(self.weights)
        assert find(self.weights) == folder / "w.bin"
        (tmp_path / "w.bin").write_bytes(b"other")
        keep(self.weights, tmp_path / "w.bin")
        assert find(self.weights).read_bytes() == b"good"

    def test_a_cache_that_cannot_be_written_to_is_left(self, tmp_path: Path, folder: Path) -> None:
        (tmp_path / "w.bin").write_bytes(b"good")
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.write_text("not a folder")
        keep(self.weights, tmp_path / "w.bin")
        assert not is_here(self.weights)


@pytest.mark.needs("encoders")
class TestReading:
    @pytest.mark.parametrize("zipped", [True, False])
    def test_tensors_and_arrays_are_read(self, tmp_path: Path, zipped: bool) -> None:
        import torch

        state = {"a": torch.arange(3.0), "b": np.linspace(0, 1, 5), "c": np.float32([1, 2])}
        torch.save(state, tmp_path / "s.pth", _use_new_zipfile_serialization=zipped)
        read = files.read_state(tmp_path / "s.pth")
        assert {name: list(values) for name, values in read.items()} == {
            name: list(values) for name, values in state.items()
        }

    def test_numpys_old_name_of_itself_is_known(self, tmp_path: Path) -> None:
        import torch

        torch.save({"b": np.ones(4)}, tmp_path / "n.pth", _use_new_zipfile_serialization=False)
        new = (tmp_path / "n.pth").read_bytes()
        assert b"numpy._core.multiarray" in new
        old = new.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
        (tmp_path / "n.pth").write_bytes(old)
        assert files.read_state(tmp_path / "n.pth")["b"].tolist() == [1, 1, 1, 1]

    def test_code_in_a_checkpoint_is_refused_and_not_run(self, tmp_path: Path) -> None:
        import torch

        class Evil:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return Path.touch, (tmp_path / "ran",)

        torch.save({"a": Evil()}, tmp_path / "evil.pth")
        with pytest.raises(WeightsError, match=r"evil.pth: no checkpoint of tensors alone"):
            files.read_state(tmp_path / "evil.pth")
        (tmp_path / "plain.pth").write_bytes(pickle.dumps({"a": Evil()}, protocol=2))
        with pytest.raises(WeightsError):
            files.read_state(tmp_path / "plain.pth")
        np.savez(tmp_path / "evil.npz", a=np.array([Evil()], object))
        with pytest.raises(WeightsError, match=r"evil.npz: not a readable"):
            files.read_arrays(tmp_path / "evil.npz")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04junk"])
    def test_damage_is_one_line(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "d.pth"
        path.write_bytes(content)
        for read in (files.read_state, files.read_arrays):
            with pytest.raises(WeightsError, match=str(path)) as error:
                read(path)
            assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_weights_that_are_listed_without_torch_are_those_of_the_encoder(name: str) -> None:
    pytest.importorskip("torch")
    assert published_weights(name) == encoder_class(name).weights == PUBLISHED[name]
