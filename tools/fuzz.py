"""Feed damaged and invented input to everything that reads a file, guided by coverage.

Atheris changes real files and keeps the changes that reach new code. A reader may refuse its input
with one of Genrescope's own errors. Any other exception, a crash of the process, more than five
seconds for one input, and an exit code other than 0, 1 or 2 of the command line are findings.

    python tools/fuzz.py --inputs 2000 --write docs/robustness.md

Of kinds that are not run, and have no result in `--results`, the page keeps the row that it has.

Inputs that led to a finding are kept in the folder of `--results`. Once the fault is mended they
are added to tests/files/fuzz, which the tests read.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
import unittest.mock
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

_SLOW_SECONDS = 5.0
_MEMORY_MB = 3000
_FILES = Path(__file__).resolve().parents[1] / "tests" / "files"
_EVERY = 100  # of so many inputs one goes through the command line


@dataclass(frozen=True)
class Target:
    """Something that reads a file.

    Attributes
    ----------
    name
        Of the file that is read, in a folder of its own.
    read
        Reads it.
    seeds
        Gives real files.
    command
        The command that reads it; FILE stands for its path, FOLDER for its folder.
    """

    name: str
    read: Callable[[Path], Any]
    seeds: Callable[[], list[bytes]]
    command: tuple[str, ...] = ()


def _audio(file: Path) -> None:
    from genrescope.audio import load

    load(file)


def _audio_seeds(kind: str, *subtypes: str) -> Callable[[], list[bytes]]:
    def seeds() -> list[bytes]:
        import soundfile

        from genrescope.examples import render

        samples, found = render("walking-bass", seconds=1.0)[:600], []
        for subtype in subtypes:
            file = io.BytesIO()
            soundfile.write(file, samples, 8000, format=kind, subtype=subtype)
            found.append(file.getvalue())
        return found

    return seeds


def _playlist_seeds() -> list[bytes]:
    return [
        b"#EXTM3U\n#EXTINF:3,a\nb.wav\n",
        b"ffconcat version 1.0\nfile '/etc/passwd'\n",
        b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile:///etc/passwd\n",
        b"[playlist]\nFile1=a.wav\n",
        b"<?xml version='1.0'?><playlist><trackList/></playlist>",
    ]


def _table(file: Path) -> None:
    from genrescope.datasets import scan

    scan(file)


def _table_seeds() -> list[bytes]:
    rows = ["path,genre,artist\na.wav,jazz,x\nb.wav,rock,y\n", "filename;label\na.wav;jazz\n"]
    return [row.encode(encoding) for row in rows for encoding in ("utf-8", "utf-8-sig", "utf-16")]


def _recipe(file: Path) -> None:
    from genrescope.training.recipe import expand, load_recipe

    load_recipe(expand(file)[0])


def _recipe_seeds() -> list[bytes]:
    from genrescope.training.recipe import __file__ as place

    folder = Path(place).parents[1] / "recipes"
    links = "".join(f"{b}: &{b} [*{a},*{a}]\n" for a, b in pairwise("abcdefghijklmnopqrstuvwxyz"))
    return [
        *(path.read_bytes() for path in sorted(folder.glob("*.yaml"))),
        f"a: &a [1,2]\n{links}".encode(),
    ]


_ODD = (None, True, -1, 2.5, 1e300, 2**70, "", "ab", "\ud800", [], [[]], {}, {"a": 1})


def _varied(document: Any, most: int = 100) -> list[bytes]:
    """A JSON document, the same with each of its values replaced by odd ones, and a deep one."""

    def variants(value: Any) -> Iterator[Any]:
        yield from _ODD
        if isinstance(value, dict):
            for key, own in value.items():
                yield {name: each for name, each in value.items() if name != key}
                yield from (value | {key: other} for other in variants(own))
        elif isinstance(value, list):
            for place, own in enumerate(value[:3]):
                for other in variants(own):
                    yield [*value[:place], other, *value[place + 1 :]]

    found = [*variants(document)]
    chosen = random.Random(0).sample(found, min(most, len(found)))  # noqa: S311 - any will do
    whole = [json.dumps(each).encode() for each in [document, *chosen]]
    return [*whole, b"[" * 60_000]


def _bundle(file: Path) -> None:
    from genrescope.inference import Bundle

    if not (file.parent / "model.onnx").exists():
        (file.parent / "model.onnx").write_bytes(b"")
    Bundle.load(file.parent)


def _shipped() -> Any:
    from genrescope.inference import Bundle

    return Bundle.load("default")


def _bundle_seeds() -> list[bytes]:
    fields = json.loads(_shipped().manifest.model_dump_json())
    fields |= {"training_tracks": None, "sha256": hashlib.sha256(b"").hexdigest()}
    fields |= {"provenance": {}, "metrics": {}}
    versions = [fields | {"schema_version": version} for version in (1, 2, 3, 4)]
    return [*(json.dumps(each).encode() for each in versions), *_varied(versions[1])]


def _archive(file: Path) -> None:
    from genrescope.inference import Bundle

    Bundle.load(file)


def _archive_seeds() -> list[bytes]:
    found = []
    for names in (("bundle.json", "model.onnx"), ("x/bundle.json", "../../model.onnx")):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(names[0], _bundle_seeds()[1])
            archive.writestr(names[1], b"")
        found.append(file.getvalue())
    return found


def _graph(file: Path) -> None:
    from genrescope.onnx_session import SessionError, onnx_session

    with contextlib.suppress(SessionError):
        onnx_session(file.read_bytes())


def _graph_seeds() -> list[bytes]:
    import onnx
    from onnx import TensorProto, helper

    found = []
    for kind in ("Relu", "Softmax"):
        value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 4]) for n in "xy"]
        node = helper.make_node(kind, ["x"], ["y"])
        graph = helper.make_graph([node], "g", value[:1], value[1:])
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, ir_version=8, opset_imports=opset)
        onnx.checker.check_model(model)
        found.append(model.SerializeToString())
    return found


def _arrays(file: Path) -> None:
    from genrescope.datasets.tables import read_table
    from genrescope.encoders.weights import read_arrays
    from genrescope.errors import GenrescopeError

    with contextlib.suppress(GenrescopeError):
        read_arrays(file)
    read_table([file])


def _arrays_seeds() -> list[bytes]:
    import numpy as np

    found = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, paths=np.array(["a.wav", "b.wav"]), x=np.ones((2, 3), np.float32))
        found.append(file.getvalue())
    return found


def _embeddings(file: Path) -> None:
    from genrescope.encoders.tables import read_heading, read_table

    read_heading(file)
    list(read_table(file))


def _embeddings_seeds() -> list[bytes]:
    import numpy as np

    from genrescope.encoders.tables import Heading, TrackRows, write_table

    values, times = np.ones((2, 3), np.float32), np.zeros(2, np.float32)
    rows = TrackRows("a.wav", (1, 2), values, times, times)
    with tempfile.TemporaryDirectory() as folder:
        heading = Heading("key", "none", 3, [("a.wav", 2, (1, 2))])
        write_table(Path(folder, "t.npz"), heading, lambda: iter([rows]))
        return [Path(folder, "t.npz").read_bytes()]


def _checkpoint(file: Path) -> None:
    from genrescope.encoders.torch_checkpoint import read_checkpoint

    read_checkpoint(file)


def _checkpoint_seeds() -> list[bytes]:
    import torch

    file = io.BytesIO()
    torch.save({"a.weight": torch.ones(2, 3), "b": torch.zeros(4)}, file)
    return [file.getvalue()]


def _tensorflow(file: Path) -> None:
    from genrescope.encoders.tensorflow_checkpoint import read_checkpoint, read_slices
    from genrescope.errors import GenrescopeError

    content = file.read_bytes()
    with contextlib.suppress(GenrescopeError):
        read_slices(content, file)
    read_checkpoint(content, bytes(1000), file)


def _tensorflow_seeds() -> list[bytes]:
    import numpy as np

    sys.path.append(str(_FILES.parent))
    from checkpoints import write_tensorflow_1

    with tempfile.TemporaryDirectory() as folder:
        tensors = {"conv/weights": np.ones((2, 3), np.float32), "step": np.ones(1, np.int64)}
        return [write_tensorflow_1(Path(folder, "model.ckpt"), tensors).read_bytes()]


def _tensorflow_js(file: Path) -> None:
    from genrescope.encoders.musicnn import read_tensorflow_js

    shard = file.with_name("shard")
    if not shard.exists():
        shard.write_bytes(bytes(24))
    read_tensorflow_js(file, shard)


def _tensorflow_js_seeds() -> list[bytes]:
    weights = [
        {"name": "a", "dtype": "float32", "shape": [2, 2]},
        {"name": "b", "dtype": "int32", "shape": [2]},
    ]
    return _varied({"weightsManifest": [{"paths": ["s"], "weights": weights}]})


def _address(file: Path) -> None:
    from genrescope.audio.addresses import is_audio, names_address, options_of, stamp_of
    from genrescope.errors import FileError
    from genrescope.library.search import Root
    from genrescope.redaction import redacted, redacted_text

    # A name of two lines is printed as one, with escapes.
    name = "".join(os.fsdecode(file.read_bytes()).splitlines())
    shown = redacted(name)
    if redacted(shown) != shown or shown not in str(FileError(name, "x")):
        raise ValueError("not redacted as it should be")
    redacted_text(f"x {name} y", name)
    is_audio(name)
    options_of(name)
    if names_address(name) and not name.lower().startswith(("http", "s3", "g", "ftp", "sftp")):
        stamp_of(name)
    Root.of(name)


def _address_seeds() -> list[bytes]:
    return [
        b"https://user:password@host:80/song.mp3?X-Amz-Signature=abc&id=1#t=3",
        b"s3://KEY:se/cret@bucket/What? #1.mp3?endpoint_override=h:9&scheme=http",
        b"zip://a.mp3::https://[::1]:80/z.zip?sig=x",
        b"memory://a/b@c.wav",
        b"/music/a.mp3",
    ]


def _group(file: Path) -> None:
    from genrescope.training.trainers.group import _NAMES, _environment

    names = (*_NAMES, "LOCAL_WORLD_SIZE")
    values = file.read_bytes().replace(b"\0", b"").split(b"\n")
    given = {name: os.fsdecode(value) for name, value in zip(names, values, strict=False)}
    with unittest.mock.patch.dict(os.environ, dict.fromkeys(names, "") | given):
        _environment()


def _group_seeds() -> list[bytes]:
    from genrescope.training.trainers import group  # noqa: F401 - torch takes long to import

    return [b"127.0.0.1\n29400\n2\n1\n0\n1", b"host\n65535\n8\n7\n3\n4"]


def _genre_names(file: Path) -> None:
    from genrescope.genres import find_genre
    from genrescope.taxonomy import taxonomy

    name = file.read_bytes().decode("utf-8", "surrogateescape")
    taxonomy().find(name)
    taxonomy().tag(name)
    find_genre(name, ["jazz", "rock", "hiphop"])


def _genre_name_seeds() -> list[bytes]:
    return [name.encode() for name in ("Hip Hop", "R&B", "(17)", "Rock/Pop; Jazz", "электроника")]


def _tags(file: Path) -> None:
    from genrescope.library.content import content_of
    from genrescope.library.files import tags_of
    from genrescope.library.tags import write_genre

    tags_of(file)
    content_of(file)
    write_genre(file, "Jazz", overwrite=True)


def _tag_seeds() -> list[bytes]:
    import soundfile

    from genrescope.library.trailing_tags import new_ape

    file = io.BytesIO()
    soundfile.write(file, [0.0] * 3000, 22050, format="MP3")
    id3v1 = b"TAG" + b"a" * 124 + b"\x05"
    mp3 = file.getvalue()
    return [mp3 + new_ape(["Jazz"]).data, mp3 + id3v1, mp3 + new_ape(["Jazz"]).data + id3v1]


def _undo(file: Path) -> None:
    from genrescope.library.moves import undo

    undo(file)


def _undo_seeds() -> list[bytes]:
    step = {"source": "/n/a", "target": "/n/b", "size": 1, "mtime_ns": 2}
    return _varied({"format": 2, "action": "move", "steps": [step]})


def _journal(file: Path) -> None:
    from genrescope.library.tag_journal import undo

    undo(file)


def _journal_seeds() -> list[bytes]:
    before = {"values": ["Jazz"], "trailing": None, "id3v1": 3, "info": None}
    line = {"format": 1, "path": "/n/a.mp3", "before": before, "after": "Rock"}
    return [each + b"\n" for each in _varied(line)]


def _run(file: Path) -> None:
    from genrescope.evaluation import RunResult

    RunResult.read(file.parent)


def _run_seeds() -> list[bytes]:
    """Results of runs of version 0.1, as they were and as they are stored today."""
    from genrescope.evaluation import RunResult

    found = []
    with zipfile.ZipFile(_FILES / "runs-0.1.zip") as archive, tempfile.TemporaryDirectory() as at:
        for name in archive.namelist():
            if name.endswith("/metrics.json"):
                found.append(archive.read(name))
                Path(at, "metrics.json").write_bytes(found[-1])
                found.append(RunResult.read(Path(at)).model_dump_json().encode())
    found += _varied(json.loads(found[1]))
    return found


TARGETS = {
    "WAV": Target("a.wav", _audio, _audio_seeds("WAV", "PCM_16", "FLOAT"), ("classify", "FILE")),
    "W64": Target("a.w64", _audio, _audio_seeds("W64", "PCM_16"), ("classify", "FILE")),
    "AU": Target("a.au", _audio, _audio_seeds("AU", "PCM_16", "ULAW"), ("classify", "FILE")),
    "AIFF": Target("a.aiff", _audio, _audio_seeds("AIFF", "PCM_16"), ("classify", "FILE")),
    "playlists": Target("a.mp3", _audio, _playlist_seeds, ("classify", "FILE")),
    "CSV lists": Target("a.csv", _table, _table_seeds, ("datasets", "check", "FILE")),
    "recipes": Target("a.yaml", _recipe, _recipe_seeds, ("recipes", "FILE")),
    "bundle.json": Target("bundle.json", _bundle, _bundle_seeds, ("models", "info", "FOLDER")),
    "zipped bundles": Target("a.zip", _archive, _archive_seeds, ("models", "info", "FILE")),
    "ONNX graphs": Target("a.onnx", _graph, _graph_seeds),
    "tables .npz": Target("a.npz", _arrays, _arrays_seeds),
    "embeddings .npz": Target("t.npz", _embeddings, _embeddings_seeds),
    "checkpoints": Target("a.pt", _checkpoint, _checkpoint_seeds),
    "TensorFlow checkpoints": Target("a.ckpt", _tensorflow, _tensorflow_seeds),
    "TensorFlow JS": Target("model.json", _tensorflow_js, _tensorflow_js_seeds),
    "addresses": Target("address", _address, _address_seeds),
    "torchrun's variables": Target("group", _group, _group_seeds),
    "genre names": Target("name", _genre_names, _genre_name_seeds),
    "tags": Target("a.mp3", _tags, _tag_seeds),
    "undo files": Target("a.json", _undo, _undo_seeds, ("sort", "--undo", "FILE")),
    "tag journals": Target("a.jsonl", _journal, _journal_seeds, ("tags", "undo", "FILE")),
    "metrics.json": Target("metrics.json", _run, _run_seeds, ("report", "FOLDER")),
}


def try_input(target: Target, data: bytes, folder: Path, *, command: bool = False) -> str | None:
    """What goes wrong with an input; None where it is read, or refused in one clear line."""
    from genrescope.errors import GenrescopeError

    file = folder / target.name
    file.write_bytes(data)
    start = time.monotonic()
    try:
        target.read(file)
    except GenrescopeError as error:
        if len(str(error).splitlines()) > 1:
            return f"crash: more than one line: {error}"
    except Exception:  # whatever it is, it is a finding
        return f"crash: {traceback.format_exc()[-1500:]}"
    if time.monotonic() - start > _SLOW_SECONDS:
        return f"hang: {time.monotonic() - start:.1f} s"
    if command and target.command and file.exists():
        return _wrong_end(target, file)
    return None


def _wrong_end(target: Target, file: Path) -> str | None:
    from genrescope.cli import main

    places = {"FILE": str(file), "FOLDER": str(file.parent)}
    sys.argv = ["genrescope", *(places.get(word, word) for word in target.command)]
    code: Any = 0
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code
    except Exception:
        return f"exit code: {traceback.format_exc()[-1500:]}"
    return None if code in (0, 1, 2, None) else f"exit code: {code}: {err.getvalue()[-500:]}"


def fuzz(name: str, inputs: int, seed: int, results: Path) -> None:
    """Try so many inputs of one kind in this process, and store what came of it."""
    import atheris

    with atheris.instrument_imports(include=["genrescope"]):
        import genrescope.cli
        import genrescope.inference  # noqa: F401

    target = TARGETS[name]
    work = Path(tempfile.mkdtemp(prefix="fuzz-"))
    corpus = work / "corpus"
    corpus.mkdir()
    (work / "at").mkdir()
    for place, data in enumerate(target.seeds()):
        (corpus / str(place)).write_bytes(data)
    known = json.loads(results.read_text()) if results.exists() else {}
    result: dict[str, Any] = known.get(name) or {"inputs": 0, "findings": {}}
    os.environ |= {f"XDG_{n}_HOME": str(work / n) for n in ("CACHE", "DATA", "CONFIG")}

    def one(data: bytes) -> None:
        result["inputs"] += 1
        (results.parent / "last-input").write_bytes(data)
        found = try_input(target, data, work / "at", command=result["inputs"] % _EVERY == 0)
        if found and len(result["findings"]) < 50:
            number = hashlib.sha256(data).hexdigest()[:12]
            result["findings"][number] = found
            (results.parent / f"{target.name}-{number}").write_bytes(data)
        if found or result["inputs"] % 200 == 0 or result["inputs"] >= inputs:
            results.write_text(json.dumps(known | {name: result}, indent=1))
        if result["inputs"] >= inputs:
            os._exit(0)

    limits = [f"-seed={seed + 1}", f"-rss_limit_mb={_MEMORY_MB}", "-timeout=60", "-max_len=65536"]
    quiet = ["-verbosity=0", "-print_final_stats=0", f"-artifact_prefix={results.parent}/"]
    atheris.Setup([sys.argv[0], *limits, *quiet, str(corpus)], one)
    atheris.Fuzz()


def row(name: str, result: dict[str, Any]) -> str:
    """What came of the inputs of a kind, as a row of the table."""
    kinds = [found.split(":")[0] for found in result["findings"].values()]
    counts = [result["inputs"], *map(kinds.count, ("crash", "hang", "exit code"))]
    return f"| {name} | {' | '.join(map(str, counts))} | {result['measured']} |"


def table(rows: dict[str, str]) -> list[str]:
    """The lines of a Markdown table with the rows of kinds and one with their sums."""
    lines = [rows[name] for name in TARGETS if name in rows]
    counts = [[int(cell) for cell in line.split("|")[2:6]] for line in lines]
    total = " | ".join(str(sum(column)) for column in zip(*counts, strict=True))
    head = "| input | tried | crashes | hangs | wrong exit codes | measured |"
    return [head, "|---|--:|--:|--:|--:|---|", *lines, f"| all | {total} | |"]


def main() -> int:
    """Try all kinds of input, or those that are named, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="KIND", help="only these; by default all")
    parser.add_argument("--inputs", type=int, default=2000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path("fuzz/results.json"))
    parser.add_argument("--here", action="store_true", help="one kind, in this process")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    options = parser.parse_args()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    if options.here:
        fuzz(options.names[0], options.inputs, options.seed, options.results.resolve())
    for name in options.names or TARGETS:
        words = [name, "--here", "--inputs", str(options.inputs), "--seed", str(options.seed)]
        words += ["--results", str(options.results)]
        done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True)
        results = json.loads(options.results.read_text()) if options.results.exists() else {}
        result = results.setdefault(name, {"inputs": 0, "findings": {}})
        result["measured"] = f"{datetime.now(UTC):%Y-%m-%d}"
        if done.returncode != 0:  # the process itself died
            data = (options.results.parent / "last-input").read_bytes()
            number = hashlib.sha256(data).hexdigest()[:12]
            (options.results.parent / f"{TARGETS[name].name}-{number}").write_bytes(data)
            result["findings"][number] = f"crash: {done.returncode}: {done.stderr[-1500:]}"
        options.results.write_text(json.dumps(results, indent=1))
        print(f"{name}: {result['inputs']} inputs, {len(result['findings'])} findings", flush=True)
        for found in list(result["findings"].values())[:3]:
            print(f"   {found}", flush=True)
    results = json.loads(options.results.read_text())
    if options.write:
        sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
        from pages import rows_between, write_between

        new = {name: row(name, result) for name, result in results.items()}
        write_between(options.write, "fuzz", table(rows_between(options.write, "fuzz") | new))
    return int(any(result["findings"] for result in results.values()))


if __name__ == "__main__":
    raise SystemExit(main())
