"""Speed of the encoders and memory of fine-tuning VGGish, written into docs/performance.md.

    python benchmarks/encoders.py [--files 64] [--runs 5] [--write]

measures segments per second from files to embeddings, decoding and front end included, for one file
and for many, of

- a straight PyTorch loop, as users of the common port write it: one file after the other, its
  segments as one batch, float32, no gradient;
- the same loop with ONNX Runtime instead of PyTorch, float32 and int8 (static quantisation,
  calibrated on four other files);
- `Encoder.embed_many` in float32, and in bfloat16 where the processor computes in it.

All have the same seeded random weights, the same decoder, resampler and front end (the port's own
are slower), and as many threads as there are cores. Files are synthetic, 10 s, 22.05 kHz. The ways
take turns; speeds are medians, and ratios are medians of the ratios within a turn, so that other
load of the machine affects both. The last column is how far the embeddings are from the loop's: the
norm of the difference over that of the embeddings. For int8 it says little, as the weights are
random. With

    python benchmarks/encoders.py --one-core [--write]

the same is measured on one core in seconds of processor time, which hardly depend on what else a
busy machine does. (Threads of several cores wait for each other while something else runs on one
of them, and the loops lose most by that.)

    python benchmarks/encoders.py --memory [--write]

measures the peak of resident memory of two steps of fine-tuning on the processor, each in a
process of its own: all of VGGish, float32, AdamW, with 8 segments a step and with the 31 segments
of each of 8 clips, as the berkeley paper trains, with checkpointing and without.

    python benchmarks/encoders.py --networks [--write]

measures every encoder's network alone, random weights, one core: processor time of a segment in
PyTorch and in ONNX Runtime, which take turns, and the time and size of the exported graph.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import soundfile
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from torch import nn

from genrescope.audio import load
from genrescope.encoders import encoder_kinds, make_encoder
from genrescope.encoders.graph import layer_to_onnx
from genrescope.encoders.vggish import Encoder
from genrescope.models import make_model
from genrescope.onnx_session import onnx_session

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 10
RATE = 22050
BATCH = 64
SEGMENTS = (8, 8 * 31)

Way = Callable[[list[Path]], np.ndarray]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Plain(nn.Module):
    """The network as the port has it, with PyTorch's usual order in memory."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.features = deepcopy(network.features).to(memory_format=torch.contiguous_format)
        self.embeddings = deepcopy(network.embeddings)

    def forward(self, examples: torch.Tensor) -> torch.Tensor:
        """Embeddings `[n, 128]` of examples `[n, 1, 96, 64]`."""
        maps = self.features(examples)
        return self.embeddings(maps.permute(0, 2, 3, 1).contiguous().flatten(1))


def synthetic(folder: Path, count: int) -> list[Path]:
    """Files of chords, beats and noise."""
    moment = np.arange(SECONDS * RATE) / RATE
    paths = []
    for number in range(count):
        random = np.random.default_rng(number)
        pitches = random.uniform(80, 2000, 6)
        chord = np.sin(2 * np.pi * pitches[:, None] * moment).sum(axis=0)
        beat = np.exp(-random.uniform(2, 12) * (moment % random.uniform(0.3, 0.7)))
        samples = 0.05 * (chord * beat + random.standard_normal(len(moment)))
        paths.append(folder / f"{number}.wav")
        soundfile.write(paths[-1], samples.astype(np.float32), RATE, subtype="PCM_16")
    return paths


def examples_of(encoder: Encoder, path: Path) -> np.ndarray:
    """A file's segments as the port takes them, `[n, 1, 96, 64]`."""
    rate = encoder.frontend.computed.sample_rate
    segments = encoder.segments(load(path, sample_rate=rate)).values
    return np.ascontiguousarray(segments.transpose(0, 2, 1)[:, None])


def torch_loop(encoder: Encoder, network: nn.Module) -> Way:
    """One file after the other."""

    def way(paths: list[Path]) -> np.ndarray:
        with torch.no_grad():
            found = [network(torch.from_numpy(examples_of(encoder, p))).numpy() for p in paths]
        return np.concatenate(found)

    return way


def onnx_loop(encoder: Encoder, model: Path) -> Way:
    """One file after the other, with ONNX Runtime."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = cores()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def way(paths: list[Path]) -> np.ndarray:
        inputs = ({"examples": examples_of(encoder, path)} for path in paths)
        return np.concatenate([session.run(None, each)[0] for each in inputs])

    return way


def ours(encoder: Encoder) -> Way:
    """All files through the encoder, without its cache."""
    encoder.cache = None

    def way(paths: list[Path]) -> np.ndarray:
        return np.concatenate([e.values for e in encoder.embed_many(paths, batch_size=BATCH)])

    return way


class Calibration(CalibrationDataReader):
    """Segments by which the quantisation finds the range of each value."""

    def __init__(self, examples: list[np.ndarray]) -> None:
        self.rest = iter(examples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch, if there is one."""
        batch = next(self.rest, None)
        return None if batch is None else {"examples": batch}


def onnx_models(network: nn.Module, calibration: list[np.ndarray], folder: Path) -> list[Path]:
    """The network as ONNX, in float32 and in int8."""
    paths = [folder / "float32.onnx", folder / "int8.onnx"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated, see encoders/graph.py
        torch.onnx.export(
            network,
            (torch.zeros(2, 1, 96, 64),),
            paths[0],
            input_names=["examples"],
            output_names=["embedding"],
            dynamic_axes={"examples": {0: "n"}, "embedding": {0: "n"}},
            opset_version=17,
            dynamo=False,
        )
    logging.getLogger().setLevel(logging.ERROR)  # it wants shapes inferred; there are none missing
    quantize_static(
        *paths,
        Calibration(calibration),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return paths


def has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


def ways(encoder: Encoder, calibration: list[Path], folder: Path) -> dict[str, Way]:
    """What is compared, the loop first."""
    plain = Plain(encoder.network()).eval()
    batches = [examples_of(encoder, path) for path in calibration]
    float32, int8 = onnx_models(plain, batches, folder)
    found = {
        "PyTorch loop, float32": torch_loop(encoder, plain),
        "ONNX Runtime loop, float32": onnx_loop(encoder, float32),
        "ONNX Runtime loop, int8": onnx_loop(encoder, int8),
        "Genrescope, float32": ours(encoder),
    }
    if has_bfloat16():
        lowered = Encoder(weights_seed=0, device="cpu", precision="bfloat16")
        found["Genrescope, bfloat16"] = ours(lowered)
    return found


@dataclass(frozen=True)
class Speed:
    """Segments per second of one way, and their ratio to the loop's."""

    rate: float
    ratio: float


def measured(
    compared: dict[str, Way], paths: list[Path], runs: int, clock: Callable[[], float]
) -> dict[str, Speed]:
    """Speeds of each, the first being the loop; taking turns, after one turn to warm up."""
    segments = {name: len(way(paths)) for name, way in compared.items()}
    times: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(runs):
        for name, way in compared.items():
            start = clock()
            way(paths)
            times[name].append(clock() - start)
    loop = times[next(iter(compared))]
    return {
        name: Speed(
            segments[name] / statistics.median(times[name]),
            statistics.median(one / other for one, other in zip(loop, times[name], strict=True)),
        )
        for name in compared
    }


def table(files: int, runs: int, clock: Callable[[], float]) -> list[str]:
    """Measure, and give the lines of the page."""
    torch.set_num_threads(cores())
    with tempfile.TemporaryDirectory() as temporary:
        paths = synthetic(Path(temporary), files + 4)
        encoder = Encoder(weights_seed=0, device="cpu")
        compared = ways(encoder, paths[files:], Path(temporary))
        outputs = {name: way(paths[:8]) for name, way in compared.items()}
        one, many = (measured(compared, p, runs, clock) for p in (paths[:1], paths[:files]))
    loop = next(iter(compared))
    lines = [
        f"| VGGish, segments per second | one file | | {files} files | | difference |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name in compared:
        off = np.linalg.norm(outputs[name] - outputs[loop]) / np.linalg.norm(outputs[loop])
        speeds = (one[name], many[name])
        cells = [cell for s in speeds for cell in (f"{s.rate:.0f}", f"× {s.ratio:.1f}")]
        lines.append(f"| {name} | {' | '.join(cells)} | {100 * off:.2g} % |")
    seconds = "processor" if clock is time.process_time else "wall-clock"
    return [
        *lines,
        "",
        f"{machine()}, ONNX Runtime {ort.__version__}; {seconds} seconds, medians of {runs} runs, "
        f"load {os.getloadavg()[1]:.0f}. Ratios are to the first line, differences too.",
    ]


def machine() -> str:
    """What it was measured on."""
    count = f"{cores()} core{'s' if cores() > 1 else ''}"
    python = platform.python_version()
    return f"{count}, {platform.machine()}, Python {python}, torch {torch.__version__}"


def fine_tuned(segments: int, checkpointing: bool) -> float:
    """Peak memory of this process in GB after two steps."""
    torch.manual_seed(0)
    settings = {"kind": "finetuned", "encoder": "vggish", "weights_seed": 0}
    settings |= {"hidden": [256], "checkpointing": checkpointing}
    network = make_model(settings, shape=(64, 96), genres=8).train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)
    for _ in range(2):  # in the second the optimizer has its moments, too
        batch, genres = torch.randn(segments, 64, 96), torch.randint(8, (segments,))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(batch)[0], genres).backward()
        optimizer.step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def memory() -> list[str]:
    """Measure in new processes, and give the lines of the page."""
    lines = [
        "| Fine-tuning all of VGGish, peak memory | kept | checkpointing |",
        "|---|--:|--:|",
    ]
    for segments in SEGMENTS:
        found = []
        for checkpointing in ("", "1"):
            command = [sys.executable, __file__, "--step", str(segments), checkpointing]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(f"{float(done.stdout):.1f} GB")
        lines.append(f"| {segments} segments a step | {' | '.join(found)} |")
    return [*lines, "", f"{machine()}, float32, AdamW; resident memory of the whole process."]


def networks(turns: int) -> list[str]:
    """Measure every encoder's network, and give the lines of the page."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    lines = [
        "| One segment, processor time | PyTorch | ONNX Runtime | ratio | export | graph |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name in encoder_kinds():
        encoder = make_encoder(name, weights_seed=0)
        network, layer = encoder.network().cpu(), encoder.default_layer
        start = time.process_time()
        graph = layer_to_onnx(network, encoder.for_export(network), layer, encoder.frontend.shape)
        exported = time.process_time() - start
        session = onnx_session(graph)
        count = max(2, min(16, round(8 / encoder.seconds)))
        random = np.random.default_rng(0)
        segments = random.normal(size=(count, *encoder.frontend.shape)).astype(np.float32)
        batch = torch.from_numpy(segments)
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(turns + 1):
            start = time.process_time()
            with torch.inference_mode():
                network(batch)
            between = time.process_time()
            session.run(None, {"segments": segments})
            times[0].append(between - start)
            times[1].append(time.process_time() - between)
        ours, theirs = (1000 * statistics.median(each[1:]) / count for each in times[::-1])
        cells = [f"{theirs:.1f} ms", f"{ours:.1f} ms", f"× {theirs / ours:.1f}"]
        cells += [f"{exported:.1f} s", f"{len(graph) / 1e6:.1f} MB"]
        lines.append(f"| `{name}`, {encoder.seconds:.3g} s | {' | '.join(cells)} |")
        print(lines[-1], file=sys.stderr)
    return [*lines, "", f"{machine()}, ONNX Runtime {ort.__version__}; medians of {turns} turns."]


def write(mark: str, lines: list[str]) -> None:
    """Put lines in their place on the page."""
    page = ROOT / "docs" / "performance.md"
    marked = re.compile(f"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    text, count = marked.subn(lambda m: m[1] + "\n".join(lines) + "\n" + m[2], page.read_text())
    if not count:
        raise SystemExit(f"{page} has no place for it: <!-- {mark} --> … <!-- /{mark} -->")
    page.write_text(text, encoding="utf-8")


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--one-core", action="store_true")
    parser.add_argument("--networks", action="store_true")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.step:
        print(fine_tuned(int(options.step[0]), bool(options.step[1])))
        return
    if options.one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    clock = time.process_time if options.one_core else time.perf_counter
    if options.memory:
        mark, lines = "memory", memory()
    elif options.networks:
        mark, lines = "networks", networks(options.runs)
    else:
        mark, lines = "encoders", table(options.files, options.runs, clock)
    print("\n".join(lines))
    if options.write:
        write(mark, lines)


if __name__ == "__main__":
    main()
