"""Recordings that are no music: noise, tones, hum, clicks, dithered silence, synthesised speech.

Two groups that share no kind of sound and no language: `TRAINING` to fit what rejects them, `TEST`
to measure it. Speech needs the program `espeak-ng`; `encoded` needs `ffmpeg`.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import soundfile
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import butter, lfilter

RATE = 44100
SECONDS = 20
Sound = NDArray[np.float64]
Group = Literal["training", "test"]

TEXTS = {
    "en": "The committee met on Tuesday to discuss the new road. Nobody had "
    "expected so many people. "
    "In the afternoon the rain stopped, and the chairman read out the letters that had arrived.",
    "de": "Am Dienstag traf sich der Ausschuss, um über die neue Straße zu "
    "reden. Niemand hatte mit so "
    "vielen Leuten gerechnet. Am Nachmittag las der Vorsitzende die Briefe vor.",
    "es": "El martes se reunió el comité para hablar de la nueva carretera. Nadie esperaba a tanta "
    "gente. Por la tarde dejó de llover y el presidente leyó las cartas que habían llegado.",
    "pl": "We wtorek komisja zebrała się, aby omówić nową drogę. Nikt nie "
    "spodziewał się tylu ludzi. "
    "Po południu deszcz przestał padać, a przewodniczący odczytał listy.",
    "hi": "मंगलवार को समिति नई सड़क पर चर्चा करने के लिए मिली। किसी ने इतने "
    "लोगों की उम्मीद नहीं की थी। "
    "दोपहर में बारिश रुक गई और अध्यक्ष ने पत्र पढ़े।",
    "fr": "Mardi, le comité s'est réuni pour parler de la nouvelle route. "
    "Personne n'attendait autant de "
    "monde. L'après-midi, la pluie a cessé et le président a lu les lettres de la semaine.",
    "it": "Martedì il comitato si è riunito per parlare della nuova strada. "
    "Nessuno si aspettava tanta "
    "gente. Nel pomeriggio la pioggia è cessata e il presidente ha letto le lettere arrivate.",
    "ru": "Во вторник комитет собрался, чтобы обсудить новую дорогу. Никто не "
    "ожидал столько людей. "
    "Днём дождь прекратился, и председатель прочитал письма.",
    "pt": "Na terça-feira a comissão reuniu-se para falar da nova estrada. "
    "Ninguém esperava tanta gente. "
    "À tarde a chuva parou e o presidente leu as cartas.",
    "tr": "Salı günü komite yeni yolu konuşmak için toplandı. Kimse bu kadar insan beklemiyordu. "
    "Öğleden sonra yağmur durdu ve başkan mektupları okudu.",
}
LANGUAGES: dict[Group, tuple[str, ...]] = {
    "training": ("en", "de", "es", "pl", "hi"),
    "test": ("fr", "it", "ru", "pt", "tr"),
}
# Variant of the voice, pitch, words a minute.
VOICES: dict[Group, tuple[tuple[str, int, int], ...]] = {
    "training": (("", 50, 160), ("+f3", 65, 180), ("+whisper", 50, 150)),
    "test": (("", 45, 170), ("+f2", 70, 150), ("+m3", 35, 140)),
}


@dataclass(frozen=True)
class Negative:
    """A recording without music: what it is, its kind, and its samples at `rate`."""

    name: str
    kind: str
    samples: NDArray[np.float32]
    rate: int


def negatives(group: Group, *, speech: bool = True) -> Iterator[Negative]:
    """All recordings of a group."""
    random = np.random.default_rng(0 if group == "training" else 1)
    make = _training if group == "training" else _test
    for name, sound, peak in make(random):
        samples = peak * sound / max(np.abs(sound).max(), 1e-12)
        yield Negative(name, name.split()[0], samples.astype(np.float32), RATE)
    for language in LANGUAGES[group] if speech else ():
        for variant, pitch, pace in VOICES[group]:
            samples, rate = speak(language, variant, pitch, pace)
            yield Negative(f"speech {language}{variant}", "speech", samples, rate)


def glides(count: int = 64) -> Iterator[Negative]:
    """Tones of random overtones that glide, up, down or to and fro, in 3 to 20 s.

    To fit on; no wave form of the test group is among them.
    """
    random = np.random.default_rng(2)
    for number in range(count):
        low, high = np.exp(random.uniform(4.0, 8.0, 2))
        seconds = float(random.choice([3, 6, 10, 20]))
        way = (_time() % seconds) / seconds
        if number % 4 == 3:
            way = 1 - np.abs(2 * way - 1)
        pitch = low * (high / low) ** way
        phase, power = 2 * np.pi * np.cumsum(pitch) / RATE, random.uniform(0, 2.5)
        weakest = random.choice([0.0, 0.7])
        sound = np.zeros(len(pitch))
        for k in range(1, 41):
            audible = pitch * k < RATE / 2
            sound += random.uniform(weakest, 1) / k**power * np.sin(k * phase) * audible
        samples = (0.4 * sound / np.abs(sound).max()).astype(np.float32)
        name = f"glide random {number}, {low:.0f} to {high:.0f} Hz"
        yield Negative(name, "glide", samples, RATE)


def moving_noises(count: int = 32) -> Iterator[Negative]:
    """Noise of random colour that swells, trembles, comes in bursts, or whose band moves.

    To fit on.
    """
    random = np.random.default_rng(4)
    for number in range(count):
        sound = _coloured(random, random.uniform(0, 1))
        rate = float(np.exp(random.uniform(np.log(0.1), np.log(10))))
        cycles = rate * _time() + random.uniform()
        match number % 4:
            case 0:
                sound *= 1 + random.uniform(0.3, 1) * np.sin(2 * np.pi * cycles)
            case 1:
                sound *= cycles % 1 < random.uniform(0.1, 0.7)
            case 2:
                # Between two levels at random moments.
                levels = random.uniform(0.1, 1, int(cycles[-1]) + 2)
                sound *= levels[cycles.astype(int)]
            case _:
                # Ring modulation shifts the band up and down.
                b, a = butter(2, 600, fs=RATE)
                pitch = 1500 * 2 ** (1.5 * np.sin(2 * np.pi * cycles))
                carrier = np.sin(2 * np.pi * np.cumsum(pitch) / RATE)
                sound = lfilter(b, a, sound) * carrier
        samples = (random.uniform(0.05, 0.6) * sound / np.abs(sound).max()).astype(np.float32)
        yield Negative(f"moving noise {number}", "moving noise", samples, RATE)


def can_speak() -> bool:
    """Whether `espeak-ng` is installed."""
    return shutil.which("espeak-ng") is not None


def speak(
    language: str, variant: str = "", pitch: int = 50, pace: int = 160
) -> tuple[NDArray[np.float32], int]:
    """Synthesised speech and its sample rate."""
    command = ["espeak-ng", "-v", language + variant, "-p", str(pitch), "-s", str(pace)]
    text = f"{TEXTS[language]} {TEXTS[language]}"
    done = subprocess.run([*command, "--stdout", text], capture_output=True, check=True)
    # Written to a pipe, the header does not know the length.
    samples = np.frombuffer(done.stdout[44:], "<i2").astype(np.float32) / 2**15
    rate = int.from_bytes(done.stdout[24:28], "little")
    return samples[: SECONDS * rate], rate


def encoded(negative: Negative, codec: Literal["mp3", "aac"]) -> bytes:
    """The file that a lossy codec makes of a recording."""
    buffer = io.BytesIO()
    soundfile.write(buffer, negative.samples, negative.rate, format="WAV", subtype="PCM_16")
    how = {
        "mp3": ["-c:a", "libmp3lame", "-b:a", "128k", "-f", "mp3"],
        "aac": ["-c:a", "aac", "-b:a", "96k", "-f", "adts"],
    }[codec]
    command = ["ffmpeg", "-v", "error", "-i", "pipe:0", "-ar", "44100", *how, "pipe:1"]
    done = subprocess.run(command, input=buffer.getvalue(), capture_output=True, check=True)
    return done.stdout


def _time() -> Sound:
    return np.arange(SECONDS * RATE) / RATE


def _sine(frequency: float) -> Sound:
    return np.sin(2 * np.pi * frequency * _time())


def _wave(kind: str, cycles: Sound) -> Sound:
    """A wave form at each of these numbers of cycles."""
    phase = cycles % 1
    match kind:
        case "triangle":
            return np.abs(4 * phase - 2) - 1
        case "saw":
            return 2 * phase - 1
        case "square":
            return np.sign(phase - 0.5)
        case "pulse":
            return np.where(phase < 0.1, 1.0, -0.1)
    return np.sin(2 * np.pi * phase)


def _coloured(random: Generator, power: float) -> Sound:
    """Noise whose amplitude falls with frequency to a power."""
    count = SECONDS * RATE
    spectrum = np.fft.rfft(random.standard_normal(count))
    frequencies = np.maximum(np.fft.rfftfreq(count, 1 / RATE), 20)
    return np.fft.irfft(spectrum / frequencies**power, count)


def _dither(random: Generator) -> Sound:
    count = SECONDS * RATE
    return np.round(random.uniform(-1, 1, count) + random.uniform(-1, 1, count)) * 2**-15


def _training(random: Generator) -> Iterator[tuple[str, Sound, float]]:
    time, count = _time(), SECONDS * RATE
    for peak in (0.02, 0.2, 0.6):
        yield f"noise white, peak {peak}", random.standard_normal(count), peak
        yield f"noise pink, peak {peak}", _coloured(random, 0.5), peak
        yield f"noise brown, peak {peak}", _coloured(random, 1.0), peak
    for low, high in ((100, 400), (1600, 6000)):
        b, a = butter(2, [low, high], "band", fs=RATE)
        yield f"noise {low}-{high} Hz", lfilter(b, a, random.standard_normal(count)), 0.3
    yield "noise swelling", random.standard_normal(count) * (1.0 + 0.9 * _sine(0.25)), 0.4
    for frequency in (110, 440, 1000, 8000):
        yield f"tone sine {frequency} Hz", _sine(frequency), 0.5
    # Steady tones of random pitch and overtones.
    for number in range(24):
        pitch, power = float(np.exp(random.uniform(4, 7.5))), float(random.uniform(0.8, 3.0))
        strengths = random.uniform(0, 1, 10) / np.arange(1, 11) ** power
        tone = sum(a * _sine(pitch * k) for k, a in enumerate(strengths, 1) if pitch * k < RATE / 2)
        yield f"tone random {number}", np.asarray(tone), 0.4
    yield "tone square 200 Hz", np.sign(_sine(200)), 0.3
    yield "tone sweep", np.sin(2 * np.pi * (100 * time + 100 * time**2)), 0.4
    yield "tone beeps", _sine(1000) * (time % 1 < 0.2), 0.5
    yield "hum 50 Hz", sum(_sine(50 * k) / k for k in range(1, 9)), 0.2
    sparse = np.zeros(count)
    sparse[random.integers(0, count, 8000)] = random.uniform(-1, 1, 8000)
    yield "clicks crackle", sparse, 0.5
    yield "silence dither", _dither(random), 2**-14


def _test(random: Generator) -> Iterator[tuple[str, Sound, float]]:
    time, count = _time(), SECONDS * RATE
    yield "noise violet", np.diff(random.standard_normal(count + 1)), 0.3
    yield "noise between pink and brown", _coloured(random, 0.75), 0.3
    yield "noise white, 8 bits", np.round(4 * random.uniform(-1, 1, count)) / 4, 0.3
    for low, high in ((400, 1600), (4000, 12000)):
        b, a = butter(2, [low, high], "band", fs=RATE)
        yield f"noise {low}-{high} Hz", lfilter(b, a, random.standard_normal(count)), 0.3
    yield "noise in bursts", random.standard_normal(count) * (time % 1 < 0.3), 0.4
    yield "noise with 8 Hz", random.standard_normal(count) * (1 + 0.9 * _sine(8)), 0.4
    for frequency in (220, 3000):
        yield f"tone sine {frequency} Hz", _sine(frequency), 0.4
    yield "tone saw 300 Hz", 2 * ((300 * time) % 1) - 1, 0.3
    yield "tone triangle 150 Hz", np.abs(4 * ((150 * time) % 1) - 2) - 1, 0.4
    # Of every wave form: held, three at once, and gliding.
    for kind in ("sine", "triangle", "saw", "square", "pulse"):
        low, high = np.exp(random.uniform(4.0, 8.0, 2))
        yield f"tone {kind} {low:.0f} Hz", _wave(kind, low * time), 0.4
        chord = sum(_wave(kind, low * ratio * time) for ratio in (1, 1.26, 1.5))
        yield f"tone chord of {kind}s {low:.0f} Hz", np.asarray(chord), 0.4
        pitch = low * (high / low) ** (time / SECONDS)
        glide = _wave(kind, np.cumsum(pitch) / RATE)
        yield f"tone {kind} gliding {low:.0f} to {high:.0f} Hz", glide, 0.4
    yield "tone dial", _sine(350) + _sine(440), 0.4
    yield "tone ringing", (_sine(440) + _sine(480)) * (time % 6 < 2), 0.4
    yield "tone keypad", (_sine(697) + _sine(1336)) * (time % 0.5 < 0.25), 0.4
    yield "hum 60 Hz", sum(_sine(60 * k) / k for k in (1, 3, 5, 7)), 0.1
    ticks = np.zeros(count)
    ticks[:: RATE // 20] = 1.0
    yield "clicks 20 a second", ticks, 0.8
    yield "silence Gaussian", np.round(random.standard_normal(count)) * 2**-15, 2**-13
