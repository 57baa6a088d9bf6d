"""Errors of the disk are no property of a file: nothing that they caused is remembered."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clips import write_wav
from genrescope import Classifier, audio
from genrescope.audio.uncompressed import UncompressedSource
from genrescope.encoders.store import Embedding, EmbeddingStore
from genrescope.errors import FileError, UnreadableError, check_disk
from genrescope.features.cache import FeatureCache
from genrescope.inference import Prediction
from genrescope.library import places
from genrescope.library.places import LibraryError
from genrescope.library.recovery import is_whole, take_back
from genrescope.library.scan import scan
from genrescope.library.store import Library


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """A minute of noise, several blocks long."""
    path = tmp_path / "noise.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 60 * 16000), 16000)
    return path


def test_libsndfile_meets_an_error_of_the_disk(noise: Path, tmp_path: Path) -> None:
    samples, rate = soundfile.read(noise)
    soundfile.write(tmp_path / "noise.wav", samples, rate)
    with (tmp_path / "noise.wav").open("rb", buffering=0) as file:
        source = UncompressedSource(file.fileno())
        blocks = source.blocks(0, [])
        next(blocks)
        unreadable = os.open(tmp_path / "other", os.O_WRONLY | os.O_CREAT)
        os.dup2(unreadable, file.fileno())  # from now on the system refuses to read
        with pytest.raises(OSError, match="Input/output error"):
            list(blocks)
        os.close(unreadable)


@pytest.mark.parametrize("processes", [False, True])
def test_a_file_that_is_cut_while_it_is_read_is_unreadable(noise: Path, processes: bool) -> None:
    def read() -> None:
        blocks = audio.stream(noise, block_seconds=1.0)
        next(blocks)
        os.truncate(noise, 200_000)
        list(blocks)

    if not processes:
        with pytest.raises(UnreadableError, match="it changed while it was read"):
            read()
        return
    # What another process says arrives as the same error.
    noise.write_bytes(b"no music " * 99)
    with audio.safely(1), pytest.raises(audio.AudioError) as caught:
        audio.load(noise)
    assert not isinstance(caught.value, UnreadableError)


def test_a_file_that_was_cut_before_is_only_damaged(noise: Path) -> None:
    os.truncate(noise, 400_000)
    warnings: list[str] = []
    assert audio.load(noise, warnings=warnings).duration > 1
    assert len(warnings) == 1


def test_errors_of_the_disk_are_told_from_those_of_the_content(tmp_path: Path) -> None:
    with pytest.raises(UnreadableError, match="Input/output error"):
        check_disk(tmp_path, OSError(5, "Input/output error"))
    check_disk(tmp_path, OSError("cannot identify image file"))
    check_disk(tmp_path, FileNotFoundError(2, "No such file or directory"))


def test_an_embedding_of_what_a_file_was_before_is_not_kept(tmp_path: Path) -> None:
    song = write_wav(tmp_path / "a.wav")
    store = EmbeddingStore(FeatureCache(tmp_path / "cache"), "key")
    before = Embedding(np.ones((1, 2), np.float32), np.zeros(1), np.ones(1), padded=False)
    assert store.get(song) is None
    write_wav(song, 4)
    store.put(song, before)
    assert store.get(song) is None
    store.put(song, before)
    assert store.get(song) is not None


@pytest.mark.needs("library")
class TestScan:
    """What a scan stores"""

    @pytest.fixture
    def music(self, tmp_path: Path) -> Path:
        (tmp_path / "music").mkdir()
        for number in range(3):
            write_wav(tmp_path / f"music/{number}.wav", 1, seed=number)
        return tmp_path / "music"

    @pytest.fixture
    def folder(self, music: Path, tmp_path: Path) -> Path:
        scan([music], library=tmp_path / "library")
        return tmp_path / "library"

    def test_a_file_that_could_not_be_read_once_is_tried_again(
        self, music: Path, tmp_path: Path
    ) -> None:
        def failing(
            classifier: Classifier, files: Iterable[Path]
        ) -> Iterator[Prediction | FileError]:
            for file in files:
                if file.name == "0.wav":
                    yield UnreadableError(file, "not readable: Input/output error")
                else:
                    yield from classifier.predict_many([file])

        report = scan([music], library=tmp_path / "library", predict_many=failing)
        assert [Path(failure.path).name for failure in report.failures] == ["0.wav"]
        assert len(report.library.entries()) == 2
        assert scan([music], library=tmp_path / "library").counts.classified == 1

    def test_a_file_that_changes_while_it_is_classified_gets_no_row(
        self, music: Path, tmp_path: Path
    ) -> None:
        def changing(
            classifier: Classifier, files: Iterable[Path]
        ) -> Iterator[Prediction | FileError]:
            for result in classifier.predict_many([*files]):
                os.truncate(music / "1.wav", 500)
                yield result

        report = scan([music], library=tmp_path / "library", predict_many=changing)
        assert report.counts.classified == 2
        assert "it changed while it was read" in str(report.failures[0])

    def test_rows_that_an_earlier_version_left_of_such_errors_are_replaced(
        self, music: Path, folder: Path
    ) -> None:
        library = Library.open(folder)
        first, second, _ = library.entries()
        problem = "not readable: Input/output error"
        library.put([replace(first, problem=problem, genre=None)])
        library.put([replace(second, problem="damaged or truncated", genre=None)])
        report = scan([music], library=folder)
        assert (report.counts.classified, report.failed_before) == (1, 1)

    def test_a_commit_that_the_disk_cuts_is_taken_back(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        library = Library.open(folder)
        before = {entry.path for entry in library.entries()}
        written = places.commit

        def cut(*arguments: object) -> None:
            written(*arguments)  # type: ignore[arg-type]
            os.truncate(_newest(folder, "_versions"), 300)

        monkeypatch.setattr(places, "commit", cut)
        with pytest.raises(LibraryError, match="did not take all of it; it is as it was before"):
            library.remove(library.entries()[:1])
        assert {entry.path for entry in Library.open(folder).entries()} == before

    @pytest.mark.parametrize("part", ["_versions", "_deletions", "data"])
    def test_a_scan_restores_a_library_whose_last_write_was_cut(
        self, part: str, music: Path, folder: Path
    ) -> None:
        library = Library.open(folder)
        if part == "data":
            write_wav(music / "new.wav", 1, seed=7)
            library.put([replace(library.entries()[0], path="new.wav")])
        else:
            library.remove(library.entries()[:1])
        os.truncate(_newest(folder, part), 200)
        assert not is_whole(str(folder), "tracks")
        report = scan([music], library=folder)
        assert report.restored
        assert {entry.path for entry in report.library.entries() if not entry.deleted} == {
            path.name for path in music.iterdir()
        }
        assert not scan([music], library=folder).restored

    def test_a_library_without_a_whole_version_is_left_as_it_is(self, folder: Path) -> None:
        manifests = sorted((folder / "tracks.lance/_versions").glob("*.manifest"))
        for manifest in manifests:
            os.truncate(manifest, 50)
        assert not take_back(str(folder), "tracks")
        assert sorted((folder / "tracks.lance/_versions").glob("*.manifest")) == manifests


def _newest(folder: Path, part: str) -> Path:
    return max(
        (path for path in (folder / "tracks.lance" / part).rglob("*") if path.suffix != ".json"),
        key=lambda path: path.stat().st_mtime_ns,
    )
