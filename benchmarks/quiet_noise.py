"""Measures how loud noise before music may be before it changes the music's genre.

    python benchmarks/quiet_noise.py CLIPS [--write]

CLIPS is a folder of music; of up to 17 clips, evenly spaced by name, the first half minute is
classified by the default model, alone and behind noise. The noise is white, normally distributed,
and of the same seed for all clips. `--write` puts the table into docs/cli.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from pages import write_between

from genrescope import Classifier, Waveform, audio
from genrescope.audio.files import find_audio

ROOT = Path(__file__).resolve().parent.parent
RATE, SECONDS, MOST = 22050, 30, 17
LEVELS = (-90, -80, -78, -76, -70, -60, -50)
LENGTHS = (2, 10, 60)


def measured(folder: Path) -> list[str]:
    """The lines of the table."""
    classifier = Classifier.load()
    found = find_audio(folder).files
    chosen = found[:: max(1, len(found) // MOST)][:MOST]
    clips = [audio.load(file, sample_rate=RATE, duration=SECONDS).samples for file in chosen]
    alone = [classifier.predict(Waveform(clip, RATE)) for clip in clips]
    heads = " | ".join(f"{length} s of it" for length in LENGTHS)
    lines = [f"| Noise, dBFS | {heads} |", "|---" * (len(LENGTHS) + 1) + "|"]
    for level in LEVELS:
        cells = []
        for length in LENGTHS:
            noise = np.random.default_rng(0).normal(0, 10 ** (level / 20), length * RATE)
            changed, moved = 0, []
            for clip, before in zip(clips, alone, strict=True):
                both = np.concatenate([noise.astype(np.float32), clip])
                after = classifier.predict(Waveform(both, RATE))
                changed += after.genre != before.genre
                if before.genre is not None:
                    moved.append(abs(after.probabilities[before.genre] - before.confidence))
            cells.append(f"{changed} of {len(clips)}, {np.median(moved):.2f}")
        lines.append(f"| {level} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Measure, print, and write the table where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    lines = measured(options.clips)
    print("\n".join(lines))
    if options.write:
        write_between(ROOT / "docs" / "cli.md", "quiet-noise", lines)


if __name__ == "__main__":
    main()
