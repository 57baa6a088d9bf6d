"""Teach the shipped model what is no music, and measure how well both models reject it.

    python tools/no_music.py fit      writes music_detector into the shipped bundle
    python tools/no_music.py steady   writes its limits for steady sounds alone
    python tools/no_music.py table    writes the tables of docs/audioset-model.md

The detector is a logistic regression on the mean embedding. It is fitted on GTZAN's 51 clips, on
the synthesised pieces of `genrescope examples`, and on the training group of `tools/negatives.py`,
each as it is, through mp3 (what is no music), without treble, and cut to 3 s; both classes have
equal weight, and what is less probably music than not is rejected. Steady and gliding sounds, which
change less (see `genrescope.features.base.Change`) than any 3 s or 10 s of GTZAN's clips, four cuts
of each, less a margin, are rejected without it.

It is measured on Emotify's 40 clips (another source) and on the test group, which shares no
waveform, no voice and no language with the training group, whole and cut to 3 s.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from negatives import Group, Negative, encoded, negatives
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from genrescope import Classifier, Prediction, Waveform
from genrescope.atomic import write_atomic
from genrescope.audio import load
from genrescope.inference import Bundle
from genrescope.inference.bundle import SHIPPED
from genrescope.inference.labels import MusicDetector

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "audioset-model.md"
INVERSE_PENALTY = 0.1
# Of the steadiest cut of music, in total and from frame to frame; what changes less is no music.
# The second is wider: with 0.95, too, 3 of 35 pieces of game music were taken for gliding tones.
MARGINS = (0.95, 0.8)
Floats = NDArray[np.float64]


def music_of(folder: Path) -> list[Path]:
    """The audio files of a data set."""
    return sorted(p for p in folder.rglob("*") if p.suffix in (".flac", ".mp3"))


def sounds(group: Group) -> list[tuple[str, Waveform | bytes]]:
    """Name and content of a group's recordings, each as it is and through a lossy codec."""
    found: list[tuple[str, Waveform | bytes]] = []
    for number, negative in enumerate(negatives(group)):
        found.append((negative.name, _waveform(negative)))
        codec = "mp3" if group == "training" or number % 2 else "aac"
        found.append((f"{negative.name}, {codec}", encoded(negative, codec)))
    return found


def _waveform(negative: Negative) -> Waveform:
    return Waveform(negative.samples, negative.rate)


def predict(classifier: Classifier, sources: Any) -> list[Prediction]:
    """Predictions of all; raises what one of them raises."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for result in classifier.predict_many(_files(sources, Path(folder))):
            if not isinstance(result, Prediction):
                raise result
            found.append(result)
    return found


def _files(sources: Any, folder: Path) -> list[Any]:
    """The sources, with encoded sounds written to files."""
    files = []
    for number, source in enumerate(sources):
        if isinstance(source, bytes):
            path = folder / f"{number}.mp3"
            path.write_bytes(source)
            files.append(path)
        else:
            files.append(source)
    return files


def fit(data: Path) -> None:
    """Fit the detector and write it into the shipped bundle."""
    from genrescope.examples import PIECES, SAMPLE_RATE, render

    bundle = Bundle.load("default")
    plain = Bundle(bundle.manifest.model_copy(update={"music_detector": None}), bundle.model)
    classifier = Classifier(plain)
    random = np.random.default_rng(0)
    pieces = [
        Waveform((render(piece, seconds=20, seed=seed) / 2**15).astype(np.float32), SAMPLE_RATE)
        for piece in PIECES
        for seed in (5, 6)
    ]
    clips = [load(path) for path in music_of(data / "gtzan-audio")]
    short = [cut(each, random) for each in [*clips, *pieces, *pieces, *pieces]]
    music = predict(classifier, [*clips, *pieces, *map(dull, clips), *short])
    others = sounds("training")
    waves = [content for _, content in others if isinstance(content, Waveform)]
    made = [content for _, content in others]
    made += [*map(dull, waves), *(cut(each, random) for each in waves)]
    # What is mostly digital silence has no embedding.
    rejected = [prediction for prediction in predict(classifier, made) if prediction.timeline]
    x = np.array([prediction.embedding for prediction in [*music, *rejected]], float)
    y = np.arange(len(x)) < len(music)
    mean, deviation, weights, bias = coefficients(x, y)
    steady_below, smooth_below = steady_limits(classifier, clips)
    detector = MusicDetector(
        mean=tuple(np.round(mean, 5)),
        deviation=tuple(np.round(deviation, 5)),
        weights=tuple(np.round(weights, 5)),
        bias=round(bias, 5),
        music_above=0.5,
        steady_below=steady_below,
        smooth_below=smooth_below,
    )
    _save(bundle, detector)
    counts = {"music": int(y.sum()), "no_music": int((~y).sum())}
    print(json.dumps({**counts, "steady_below": steady_below, "smooth_below": smooth_below}))


def fit_steady(data: Path) -> None:
    """Fit the limits for steady sounds, and write them into the shipped bundle."""
    bundle = Bundle.load("default")
    detector = bundle.manifest.music_detector
    if detector is None:
        raise SystemExit("the shipped bundle has no detector yet: python tools/no_music.py fit")
    clips = [load(path) for path in music_of(data / "gtzan-audio")]
    limits = steady_limits(Classifier(bundle), clips)
    changed = dict(zip(("steady_below", "smooth_below"), limits, strict=True))
    _save(bundle, detector.model_copy(update=changed))
    print(json.dumps(changed))


def _save(bundle: Bundle, detector: MusicDetector) -> None:
    manifest = bundle.manifest.model_copy(update={"schema_version": 3, "music_detector": detector})
    Bundle(manifest, bundle.model).save(SHIPPED / "default")


def steady_limits(classifier: Classifier, clips: list[Waveform]) -> tuple[float, float]:
    """How much a recording has to change in total, and from frame to frame, to be music."""
    random = np.random.default_rng(0)
    cuts = [
        change(classifier, cut(clip, random, seconds))
        for clip in clips
        for seconds in (3.0, 10.0)
        for _ in range(4)
    ]
    least = np.min(cuts, axis=0)
    total, step = (round(float(m * value), 2) for m, value in zip(MARGINS, least, strict=True))
    return total, step


def change(classifier: Classifier, waveform: Waveform) -> tuple[float, float]:
    """How much a recording changes, in the windows where it changes most."""
    windows = classifier.manifest.frontend.windows(waveform)
    changes = [window.change for window in windows if window.change is not None]
    return max(c.total for c in changes), max(c.step for c in changes)


def cut(waveform: Waveform, random: np.random.Generator, seconds: float = 3.0) -> Waveform:
    """Some seconds of a recording, at a random place."""
    count = int(seconds * waveform.sample_rate)
    start = int(random.integers(0, max(1, len(waveform.samples) - count)))
    return Waveform(waveform.samples[start : start + count], waveform.sample_rate)


def dull(waveform: Waveform) -> Waveform:
    """The same without treble, as on old recordings and on the telephone."""
    return waveform.resampled(8000)


def coefficients(x: Floats, y: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats, float]:
    """Mean and deviation of the embeddings, weights and bias of the regression."""
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-3
    model = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=5000)
    model.fit((x - mean) / deviation, y)
    return mean, deviation, model.coef_[0], float(model.intercept_[0])


def auroc(music: Floats, other: Floats) -> float:
    """Probability that a recording of music has the larger figure."""
    greater = music[:, None] > other[None]
    return float((greater + 0.5 * (music[:, None] == other[None])).mean())


def interval(music: Floats, other: Floats, times: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of the AUROC; recordings are drawn one by one."""
    random = np.random.default_rng(0)
    draws = [
        auroc(random.choice(music, len(music)), random.choice(other, len(other)))
        for _ in range(times)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def table(data: Path) -> str:
    """How well each model tells music from the test group, as a Markdown table."""
    lines = [
        "| Model | Length | Music | No music | AUROC | No music accepted | Music rejected "
        "| Most probable genre of no music |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    random = np.random.default_rng(0)
    others = sounds("test")
    waves = [(name, content) for name, content in others if isinstance(content, Waveform)]
    clips = music_of(data / "emotify-audio")
    short = [cut(load(path), random) for path in clips]
    for name in ("default", "audioset"):
        classifier = Classifier.load(name)
        lines.append(_row(classifier, "20 s", clips, others))
        cuts = [(what, cut(wave, random)) for what, wave in waves]
        lines.append(_row(classifier, "3 s", short, cuts))
    return "\n".join(lines)


def _row(classifier: Classifier, length: str, clips: Any, others: Any) -> str:
    music = predict(classifier, clips)
    rejected = predict(classifier, [content for _, content in others])
    a = np.array([_music(p) for p in music])
    b = np.array([_music(p) for p in rejected])
    low, high = interval(a, b)
    accepted = [
        (p.confidence, what)
        for (what, _), p in zip(others, rejected, strict=True)
        if p.genre is not None
    ]
    most = max(accepted, default=(0.0, "none"))
    lost = sum(p.genre is None for p in music)
    return (
        f"| {classifier.manifest.name} | {length} | {len(a)} | {len(b)} "
        f"| {auroc(a, b):.3f} ({low:.3f}–{high:.3f}) "
        f"| {len(accepted)} | {lost} | {100 * most[0]:.0f} % ({most[1]}) |"
    )


def threshold(data: Path) -> str:
    """The figures of the AudioSet model that its threshold lies between, as a sentence."""
    classifier = Classifier.load("audioset")
    groups: tuple[Group, Group] = ("training", "test")
    made = [content for group in groups for _, content in sounds(group)]
    clips = [path for name in ("gtzan-audio", "emotify-audio") for path in music_of(data / name)]
    most = max(_music(p) for p in predict(classifier, made))
    least = min(_music(p) for p in predict(classifier, clips))
    return (
        f"The largest probability of music that `audioset` gives any of {len(made)} recordings of "
        f"both groups is {most:.2f}, the smallest that it gives any of GTZAN's 51 and Emotify's 40 "
        f"clips is {least:.2f}."
    )


def _music(prediction: Prediction) -> float:
    """Probability of music; of digital silence there is none."""
    return prediction.labels.music if prediction.labels else 0.0


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["fit", "steady", "table"])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    if arguments.what != "table":
        {"fit": fit, "steady": fit_steady}[arguments.what](arguments.data)
        return
    for name, content in (
        ("no-music", table(arguments.data)),
        ("threshold", threshold(arguments.data)),
    ):
        print(content)
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        page = PAGE.read_text("utf-8")
        page = pattern.sub(lambda found, new=content: found[1] + new + "\n" + found[2], page)
        write_atomic(PAGE, page.encode())


if __name__ == "__main__":
    main()
