"""Long jobs that are killed or run out of disk end as undisturbed ones do; `tools/faults.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_jobs import jobs, make_inputs
from fault_server import Site, server
from faults import Forks, Trials

from clips import write_wav
from genrescope.cli.resume import PartialRows
from genrescope.cli.writers import WRITERS
from genrescope.errors import FileError
from genrescope.inference import Classifier

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked here")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder, files=4)
    return folder


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    found = Forks(tmp_path_factory.mktemp("logs"))
    yield found
    found.close()


@pytest.mark.parametrize(
    ("job", "kills", "others"),
    [
        ("classify --output csv", 2, 0),
        pytest.param("classify --output csv", 4, 1, marks=pytest.mark.slow),
        pytest.param("classify --output json", 4, 0, marks=pytest.mark.slow),
        ("classify --write-tags", 2, 0),
        pytest.param("classify --write-tags", 4, 0, marks=pytest.mark.slow),
        ("embed", 2, 0),
        pytest.param("embed", 4, 0, marks=pytest.mark.slow),
        ("download", 2, 0),
        pytest.param("download", 5, 1, marks=pytest.mark.slow),
        pytest.param("scan of addresses", 1, 0, marks=pytest.mark.slow),
    ],
)
def test_a_disturbed_job_loses_nothing(
    job: str, kills: int, others: int, inputs: Path, forks: Forks, tmp_path: Path
) -> None:
    if job == "scan of addresses":
        pytest.importorskip("aiohttp")
        pytest.importorskip("lancedb")
    with server() as site:
        trials = Trials(jobs()[job], tmp_path, inputs, forks, site)
        outcome = trials.run(kills, others)
    assert outcome.kills == kills
    assert outcome.found == outcome.expected > 0
    assert not outcome.failures


def test_an_undisturbed_run_finds_lost_and_doubled_rows(
    inputs: Path, forks: Forks, tmp_path: Path
) -> None:
    """The comparison itself can fail."""
    trials = Trials(jobs()["classify --output csv"], tmp_path, inputs, forks, Site())
    table = trials.work / "rows.csv"
    head, first, _, *rest = table.read_text().splitlines()
    table.write_text("\n".join([head, first, first, *rest]))
    (trials.work / "left.tmp").touch()
    (trials.work / "music/0.wav").write_bytes(b"")
    trials._compare([], trials.expected, trials._state())
    outcome = trials.outcome
    assert (outcome.lost, outcome.doubled, outcome.damaged, outcome.left) == (1, 1, 1, 1)


class TestPartialRows:
    """What lies next to an output file until it is complete"""

    @staticmethod
    def rows(folder: Path, **settings: object) -> PartialRows:
        genres = Classifier.load().genres
        return PartialRows(
            folder / "out.csv",
            {"model": "m", **settings},
            lambda stream: WRITERS["csv"](stream, genres, top=1, timeline=False),
        )

    def test_changed_files_have_no_row(self, tmp_path: Path) -> None:
        songs = [write_wav(tmp_path / f"{i}.wav") for i in range(3)]
        rows = self.rows(tmp_path)
        for prediction in Classifier.load().predict_many(rows.missing(songs)):
            rows.add(prediction, [])
        rows.close()
        write_wav(songs[1], 4)
        songs[2].unlink()
        rows = self.rows(tmp_path)
        assert [*rows.missing(songs)] == songs[1:]
        rows.finish(songs, interrupted=False)
        rows.close()
        assert len((tmp_path / "out.csv").read_text().splitlines()) == 2
        assert not (tmp_path / "out.csv.partial").exists()

    def test_a_row_that_was_cut_is_not_taken(self, tmp_path: Path) -> None:
        songs = [write_wav(tmp_path / f"{i}.wav") for i in range(2)]
        rows = self.rows(tmp_path)
        for prediction in Classifier.load().predict_many(rows.missing(songs)):
            rows.add(prediction, [])
        rows.close()
        file = tmp_path / "out.csv.partial/rows.jsonl"
        whole = file.read_bytes()
        ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
        for cut in sorted({*ends, *(end - 1 for end in ends), *range(0, len(whole), 97)}):
            file.write_bytes(whole[:cut])
            rows = self.rows(tmp_path)
            assert len(rows.kept(songs)) == max(0, sum(end <= cut for end in ends) - 1)
            rows.rows.close()
            rows.lock.release()

    def test_other_settings_are_refused(self, tmp_path: Path) -> None:
        rows = self.rows(tmp_path)
        rows.done["kept"] = ([], [], 0)
        rows.close()
        with pytest.raises(FileError, match="another model; give that command again"):
            self.rows(tmp_path, model="another")

    def test_one_process_at_a_time(self, tmp_path: Path) -> None:
        rows = self.rows(tmp_path)
        code = (
            "import sys; from pathlib import Path; from genrescope.cli.resume import PartialRows;"
            "PartialRows(Path(sys.argv[1]), {'model': 'm'}, lambda stream: None)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "out.csv"], capture_output=True, text=True
        )
        assert "another process is writing it" in done.stderr
        rows.close()

    def test_the_header_says_what_the_rows_depend_on(self, tmp_path: Path) -> None:
        rows = self.rows(tmp_path, top=3)
        header = json.loads((tmp_path / "out.csv.partial/rows.jsonl").read_text())
        assert (header["model"], header["top"]) == ("m", 3)
        rows.close()
