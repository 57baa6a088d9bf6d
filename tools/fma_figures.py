"""Write the table of docs/fma.md: networks trained on one or several data sets.

    python tools/fma_figures.py runs --data ../shared/data

reads every finished run in that folder whose split is `lists`, and whose test tracks are the stored
spectrograms of GTZAN's 51 clips that are here as audio too. Its bundle is evaluated on the audio as
well, and the page says in how many clips both agree.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np

from genrescope.atomic import write_atomic
from genrescope.evaluation.evaluate import evaluate
from genrescope.evaluation.formatting import interval
from genrescope.evaluation.predictions import read_predictions
from genrescope.evaluation.run_result import RunResult, find_runs

PAGE = Path(__file__).parents[1] / "docs" / "fma.md"


def percent(result: RunResult) -> str:
    """The accuracy with its interval, in percent."""
    return (
        f"{result.percent('accuracy'):.1f} ({interval(result.interval['accuracy'], '–', unit='')})"
    )


def table_of_sets(folders: list[Path], data: Path) -> str:
    """One row for each run on GTZAN: the same 51 clips as pictures and as audio, and Emotify."""
    lines = [
        "| Trained on | Genres | Clips | As stored spectrograms | As audio | Same answer "
        "| Emotify's clips, of its genres | |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for folder in folders:
        run = RunResult.read(folder)
        out = folder / "audio"
        on_audio = evaluate(folder, data / "gtzan-audio", folder=out)
        elsewhere = evaluate(folder, data / "emotify-audio", folder=folder / "emotify")
        stored, played = read_predictions(folder), read_predictions(out)
        answers = dict(zip(stored.tracks, np.array(stored.genres)[stored.predicted], strict=True))
        others = dict(zip(played.tracks, np.array(played.genres)[played.predicted], strict=True))
        same = sum(answers[_name(track)] == genre for track, genre in others.items())
        also = re.findall(r"--also (\S+)", run.command)
        sets = " and ".join(["gtzan-spectrograms", *also])
        lines.append(
            f"| {sets} | {len(stored.genres)} | {run.n} | {percent(run)} | {percent(on_audio)} "
            f"| {same} | {elsewhere.n} | {percent(elsewhere)} |"
        )
    commands = "\n".join(f"- `{RunResult.read(folder).command}`" for folder in folders)
    return "\n".join(lines) + f"\n\nCommands:\n\n{commands}"


def _name(track: str) -> str:
    return Path(track).name.removesuffix(".flac")


def main() -> None:
    """Read the command line and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--data", type=Path, default=PAGE.parents[2] / "shared" / "data")
    arguments = parser.parse_args()
    found = [run for run in find_runs(arguments.runs)[0] if run.kind == "run"]
    sets = [run for run in found if run.split and run.split.kind == "lists"]
    texts = {
        "fma-sets": table_of_sets([run.folder for run in sets if run.folder], arguments.data),
    }
    page = PAGE.read_text("utf-8")
    for name, content in texts.items():
        print(content)
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        page = marked.sub(lambda m, new=content: f"{m[1]}{new}\n{m[2]}", page)
    write_atomic(PAGE, page.encode())


if __name__ == "__main__":
    main()
