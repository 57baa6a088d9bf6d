"""Teach the shipped model what is no music, and measure how well both models reject it.

    python tools/no_music.py fit --music FOLDER --speech FOLDER [--before BUNDLE.JSON]
                                      writes music_detector into the shipped bundle
    python tools/no_music.py steady   writes its limits for steady sounds alone
    python tools/no_music.py table    writes the tables of docs/audioset-model.md

The detector is a logistic regression on the mean embedding. It is fitted on music (GTZAN's 51
clips, soundtracks of games, the pieces of `genrescope examples`, the tunes of `tools/tunes.py`) and
on what is none (the training group, the gliding tones and the moving noise of
`tools/negatives.py`, recorded speech), each as it is, some through mp3 or without treble, and cut
to 3 s. Both classes have equal weight, and what is less probably music than not is rejected.
`fit` compares penalties by the log loss of a cross-validation that leaves out all versions of a
recording, all soundtracks of a package, all tunes of a kind, all recorded speech of a folder (one
voice) and all synthesised speech of a language (one text) together, and writes how many are
accepted then; with --before also how many the detector of another bundle accepts, as in the docs

    git show fe2774d:src/genrescope/bundles/default/bundle.json > before.json

Steady and gliding sounds, which change less (see `genrescope.features.base.Change`)
than any 3 s or 10 s of GTZAN's clips, four cuts of each, less a margin, are rejected without it.

The music was 167 soundtracks, a folder for each of the Debian packages asc-music,
hyperrogue-music, nexuiz-music, ufoai-music, warzone2100-music and wesnoth-1.16-music; the speech
the announcements of asterisk-core-sounds-en-wav and -es-wav, joined to 20 s.

It is measured on Emotify's 40 clips (another source) and on the test group, which shares no
waveform, no voice and no language with the training group, whole and cut to 3 s.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from negatives import Group, Negative, encoded, glides, moving_noises, negatives
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from tunes import tunes

from genrescope import Classifier, Prediction, Waveform
from genrescope.atomic import write_atomic
from genrescope.audio import load
from genrescope.inference import Bundle
from genrescope.inference.bundle import SHIPPED
from genrescope.inference.labels import MusicDetector

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "audioset-model.md"
PENALTIES = (1.0, 3.0, 10.0, 30.0)
FOLDS = 5
# Of what is shorter in FOLDER, some is no music but sounds of a game.
SHORTEST = 25.0
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


MUSIC = ("GTZAN", "GTZAN without treble", "synthesised pieces", "tunes", "soundtracks of games")


@dataclass(frozen=True)
class Sample:
    """A recording to fit on: its group, what is left out with it, seconds, and its content."""

    group: str
    unit: str
    seconds: int
    content: Waveform | bytes

    @property
    def is_music(self) -> bool:
        """Whether it should be accepted."""
        return self.group in MUSIC


def samples(data: Path, music: Path, speech: Path) -> Iterator[Sample]:
    """All that the detector is fitted on."""
    from genrescope.examples import PIECES, SAMPLE_RATE, render

    random = np.random.default_rng(11)

    def whole_and_cuts(group: str, unit: str, waveform: Waveform, count: int) -> Iterator[Sample]:
        yield Sample(group, unit, 20, waveform)
        for _ in range(count):
            yield Sample(group, unit, 3, cut(waveform, random))

    for path in music_of(data / "gtzan-audio"):
        clip = load(path)
        yield from whole_and_cuts("GTZAN", path.name, clip, 3)
        yield Sample("GTZAN without treble", path.name, 20, dull(clip))
    for piece in PIECES:
        for seed in (5, 6):
            made = (render(piece, seconds=20, seed=seed) / 2**15).astype(np.float32)
            yield from whole_and_cuts("synthesised pieces", piece, Waveform(made, SAMPLE_RATE), 3)
    for tune in tunes():
        yield from whole_and_cuts("tunes", tune.kind, Waveform(tune.samples, SAMPLE_RATE), 2)
    for path in sorted(path for path in music.rglob("*") if path.is_file()):
        if excerpt := _excerpt(path, random):
            package = path.relative_to(music).parts[0]
            yield from whole_and_cuts("soundtracks of games", package, excerpt, 2)
    for negative in (*negatives("training"), *glides(), *moving_noises()):
        waveform = _waveform(negative)
        # The same text by another variant of the voice, and the same noise at another level.
        unit = re.split(r"\+|, ", negative.name)[0]
        yield from whole_and_cuts(negative.kind, unit, waveform, 2)
        yield Sample(negative.kind, unit, 20, dull(waveform))
        if negative.kind not in ("glide", "moving noise"):
            yield Sample(negative.kind, unit, 20, encoded(negative, "mp3"))
    for voice, waveform in _spoken(speech, random):
        yield from whole_and_cuts("recorded speech", voice, waveform, 2)


def _spoken(
    folder: Path, random: np.random.Generator, count: int = 8
) -> Iterator[tuple[str, Waveform]]:
    """Name of each folder, and recordings of 20 s, joined from its short ones at random."""
    for language in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(language.rglob("*.wav"))
        for _ in range(count):
            rate, parts = 1, [np.zeros(0, np.float32)]
            while sum(map(len, parts)) < 20 * rate:
                spoken = load(files[int(random.integers(len(files)))])
                rate = spoken.sample_rate
                parts += [spoken.samples, np.zeros(rate // 4, np.float32)]
            yield language.name, Waveform(np.concatenate(parts)[: 20 * rate], rate)


def _excerpt(path: Path, random: np.random.Generator, seconds: int = 20) -> Waveform | None:
    """Some seconds of a long file, at a random place; None where it is short, or no audio."""
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames < SHORTEST * file.samplerate:
                return None
            file.seek(int(random.integers(0, file.frames - seconds * file.samplerate)))
            frames = file.read(seconds * file.samplerate, dtype="float32", always_2d=True)
            return Waveform(np.ascontiguousarray(frames.mean(axis=1)), file.samplerate)
    except soundfile.LibsndfileError:
        return None


def fit(data: Path, music: Path, speech: Path, before: Path | None = None) -> None:
    """Fit the detector, write it into the shipped bundle, and its check into the docs."""
    earlier = _detector_of(before) if before else None
    bundle = Bundle.load("default")
    plain = Bundle(bundle.manifest.model_copy(update={"music_detector": None}), bundle.model)
    classifier = Classifier(plain)
    given = list(samples(data, music, speech))
    found = predict(classifier, [sample.content for sample in given])
    # What is mostly digital silence has no embedding.
    pairs = [(s, p) for s, p in zip(given, found, strict=True) if p.timeline]
    kept = [sample for sample, _ in pairs]
    x = np.array([prediction.embedding for _, prediction in pairs], float)
    y = np.array([sample.is_music for sample in kept])
    limits = steady_limits(classifier, [load(path) for path in music_of(data / "gtzan-audio")])
    changes = np.array([_change_of(classifier, sample.content) for sample in kept])
    steady = (changes < limits).any(axis=1)
    units = [f"{sample.group.removesuffix(' without treble')} {sample.unit}" for sample in kept]
    tried = {penalty: cross_validated(x, y, units, penalty) for penalty in PENALTIES}
    losses = {penalty: log_loss(logits, y) for penalty, logits in tried.items()}
    penalty = min(losses, key=losses.__getitem__)
    print(json.dumps({"log_loss_by_penalty": losses}))
    accepted = {"Accepted, cross-validated": ~steady & (tried[penalty] >= 0)}
    if earlier:
        probable = np.array([earlier.margin(embedding) >= 0 for embedding in x])
        steady_then = (changes < (earlier.steady_below or 0, earlier.smooth_below or 0)).any(axis=1)
        accepted["By the detector that it replaces"] = ~steady_then & probable
    _write({"detector": accepted_table(kept, accepted)})
    mean, deviation, weights, bias = coefficients(x, y, penalty)
    detector = MusicDetector(
        mean=tuple(np.round(mean, 5)),
        deviation=tuple(np.round(deviation, 5)),
        weights=tuple(np.round(weights, 5)),
        bias=round(bias, 5),
        music_above=0.5,
        steady_below=limits[0],
        smooth_below=limits[1],
    )
    _save(bundle, detector)
    counts = {"music": int(y.sum()), "no_music": int((~y).sum())}
    print(json.dumps({**counts, "steady_below": limits[0], "smooth_below": limits[1]}))


def _detector_of(manifest: Path) -> MusicDetector:
    """The detector of a bundle, from its bundle.json."""
    fields = json.loads(manifest.read_text("utf-8")).get("music_detector")
    if fields is None:
        raise SystemExit(f"{manifest} has no music_detector")
    return MusicDetector.model_validate(fields)


def _change_of(classifier: Classifier, content: Waveform | bytes) -> tuple[float, float]:
    """How much a sample changes; of encoded sounds, where it is not measured, inf."""
    return (np.inf, np.inf) if isinstance(content, bytes) else change(classifier, content)


def cross_validated(
    x: Floats, y: NDArray[np.bool_], units: Sequence[str], penalty: float
) -> Floats:
    """The logit of each recording, fitted without those of its unit."""
    unique, number = np.unique(units, return_inverse=True)
    fold = (np.random.default_rng(0).permutation(len(unique)) % FOLDS)[number]
    logits = np.zeros(len(x))
    for each in range(FOLDS):
        mean, deviation, weights, bias = coefficients(x[fold != each], y[fold != each], penalty)
        logits[fold == each] = (x[fold == each] - mean) / deviation @ weights + bias
    return logits


def accepted_table(kept: Sequence[Sample], accepted: Mapping[str, NDArray[np.bool_]]) -> str:
    """How many recordings of each group are taken for music, as a Markdown table."""
    lines = ["| Fitted on | Length | Recordings |", "|---|--:|--:|"]
    lines[0] += "".join(f" {name} |" for name in accepted)
    lines[1] += "--:|" * len(accepted)
    for group, seconds in dict.fromkeys((sample.group, sample.seconds) for sample in kept):
        those = np.array([(s.group, s.seconds) == (group, seconds) for s in kept])
        counts = [those.sum(), *(taken[those].sum() for taken in accepted.values())]
        lines.append(f"| {group} | {seconds} s | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines)


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
    """How much a recording changes, in the windows where it changes most; of short ones inf."""
    windows = classifier.manifest.frontend.windows(waveform)
    changes = [window.change for window in windows if window.change is not None]
    total = max((c.total for c in changes), default=np.inf)
    return total, max((c.step for c in changes), default=np.inf)


def cut(waveform: Waveform, random: np.random.Generator, seconds: float = 3.0) -> Waveform:
    """Some seconds of a recording, at a random place."""
    count = int(seconds * waveform.sample_rate)
    start = int(random.integers(0, max(1, len(waveform.samples) - count)))
    return Waveform(waveform.samples[start : start + count], waveform.sample_rate)


def dull(waveform: Waveform) -> Waveform:
    """The same without treble, as on old recordings and on the telephone."""
    return waveform.resampled(8000)


def log_loss(logits: Floats, y: NDArray[np.bool_]) -> float:
    """Mean of the log losses of both classes."""
    losses = np.logaddexp(0, np.where(y, -logits, logits))
    return round(float((losses[y].mean() + losses[~y].mean()) / 2), 4)


def coefficients(
    x: Floats, y: NDArray[np.bool_], penalty: float
) -> tuple[Floats, Floats, Floats, float]:
    """Mean and deviation of the embeddings, weights and bias of the regression."""
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-3
    model = LogisticRegression(C=1 / penalty, class_weight="balanced", max_iter=5000)
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
    parser.add_argument("--music", type=Path, help="Soundtracks to fit on, in folders by source.")
    parser.add_argument("--speech", type=Path, help="Speech to fit on, in folders by voice.")
    parser.add_argument("--before", type=Path, help="The bundle.json of a detector to compare.")
    arguments = parser.parse_args()
    if arguments.what == "fit":
        if arguments.music is None or arguments.speech is None:
            parser.error("fit needs --music and --speech")
        fit(arguments.data, arguments.music, arguments.speech, arguments.before)
    elif arguments.what == "steady":
        fit_steady(arguments.data)
    else:
        _write({"no-music": table(arguments.data), "threshold": threshold(arguments.data)})


def _write(contents: dict[str, str]) -> None:
    """Put each content between the page's comments of its name."""
    for name, content in contents.items():
        print(content)
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        page = PAGE.read_text("utf-8")
        page = pattern.sub(lambda found, new=content: found[1] + new + "\n" + found[2], page)
        write_atomic(PAGE, page.encode())


if __name__ == "__main__":
    main()
