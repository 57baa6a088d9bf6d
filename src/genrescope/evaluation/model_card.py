"""Description of a bundle: as values, as a model card, and packed with one.

Everything is read from the bundle: its genres, data, licence and figures are those of the run that
it comes from. The card has the front matter that model hubs read (huggingface.co/docs/hub/
model-cards), and the archive is what `Classifier.load` takes.
"""

from __future__ import annotations

import io
import zipfile
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from genrescope.atomic import write_atomic
from genrescope.errors import FileError
from genrescope.evaluation.formatting import interval, percent
from genrescope.evaluation.metrics import LABELS
from genrescope.evaluation.run_result import RunResult, result_of_bundle
from genrescope.inference import Bundle
from genrescope.onnx_session import WEIGHTS_FILE
from genrescope.wording import counted, size_in_words

CARD = "README.md"
# Archives of the same bundle are the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)
_HUB_LICENCES = ("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0")


def describe_bundle(bundle: Bundle) -> dict[str, Any]:
    """List what a bundle says of itself, as JSON values.

    Returns
    -------
    dict
        Name, description, genres, licence, data, figures (scores with 95 % intervals, fractions),
        size in bytes, front end, and what the model was made of. What is not known is None or
        empty.
    """
    manifest, provenance = bundle.manifest, bundle.manifest.provenance
    result, head = result_of_bundle(manifest), manifest.labels
    recipe = provenance.get("recipe")
    recipe = recipe if isinstance(recipe, dict) else {}
    listed = (manifest.training_tracks or {}).get("ids")
    return {
        "name": manifest.name,
        "description": recipe.get("description", "") or provenance.get("description", ""),
        "genres": manifest.genres,
        "styles": list(head.styles) if head else [],
        "instruments": list(head.instruments) if head else [],
        "moods": list(head.moods) if head else [],
        "rejects_what_is_no_music": bool(head or manifest.music_detector),
        "licence": manifest.licence,
        "data": provenance.get("data"),
        "training_tracks_listed": None if listed is None else len(listed.splitlines()),
        "figures": None if result is None else _figures(result),
        "bytes": len(bundle.model) + len(bundle.weights or b""),
        "frontend": manifest.frontend.model_dump(mode="json"),
        "aggregation": manifest.aggregation,
        "temperature": manifest.temperature,
        "provenance": provenance,
    }


def _figures(result: RunResult) -> dict[str, Any]:
    scores = {name: value for name, value in result.scores.items() if value is not None}
    return {
        "tracks": result.n,
        "protocol": result.protocol,
        "grouped_by_artist": result.grouped_by_artist,
        "leaked": result.leaked,
        "note": result.training_note,
        "scores": scores,
        "intervals": {name: result.interval.get(name) for name in scores},
        "by_genre": {
            genre: {"tracks": scores.n, "recall": scores.recall, "precision": scores.precision}
            for genre, scores in result.by_genre.items()
        },
        "command": result.command,
    }


def frontend_in_words(frontend: dict[str, Any]) -> str:
    """A front end on one line: its feature, sample rate, and segments."""
    feature, segments = frontend["feature"], frontend["segments"]
    rate = f" at {feature['sample_rate']} Hz" if feature.get("sample_rate") else ""
    overlap = f", {100 * segments['overlap']:.0f} % overlap" if segments.get("overlap") else ""
    return f"{feature['kind']}{rate}, segments of {segments['seconds']:g} s{overlap}"


def model_card(bundle: Bundle) -> str:
    """Write the model card of a bundle, as Markdown with front matter."""
    about = describe_bundle(bundle)
    data, figures = about["data"] or {}, about["figures"]
    name = data.get("name") or "data that the bundle does not name"
    tracks = counted(data["tracks"], "track") if "tracks" in data else "an unknown number of tracks"
    lines = [
        f"# {about['name']}",
        about["description"] or "A music genre classifier.",
        f"It tells {len(about['genres'])} genres apart: {', '.join(about['genres'])}. It was made "
        "with [Genrescope](https://pypi.org/project/genrescope/), and runs on ONNX Runtime.",
        "## Use",
        "```sh\ngenrescope classify music/ --model model.zip\n```",
        "```python\nimport genrescope\n\n"
        'print(genrescope.load("model.zip").predict("song.mp3"))\n```',
        "## Training data",
        f"{name}: {tracks}, "
        f"{data.get('with_artist', 'an unknown number')} of them with a known artist.",
    ]
    if encoder := about["provenance"].get("encoder"):
        trained = (encoder.get("data") or {}).get("name", "data that it does not name")
        lines.append(
            f"Its features are computed by the network of the model *{encoder['name']}*, which was "
            f"trained on {trained} and is part of this one ({encoder['licence']})."
        )
    lines += ["## Figures", *_figures_as_markdown(figures)]
    lines += [
        "## What it can't tell",
        "It names one of its genres for any music, also for music of others."
        + ("" if about["rejects_what_is_no_music"] else " It does not recognise what is no music."),
        "## Technical details",
        f"- Front end: {frontend_in_words(about['frontend'])}\n"
        f"- Aggregation of segments: {about['aggregation']}\n"
        f"- Size: {size_in_words(about['bytes'])}\n"
        f"- Licence: {about['licence']}\n"
        f"- Genrescope: {about['provenance'].get('genrescope', 'unknown')}",
    ]
    return _front_matter(about) + "\n\n".join(lines) + "\n"


def _figures_as_markdown(figures: dict[str, Any] | None) -> list[str]:
    if figures is None:
        return ["None were measured."]
    rows = [
        f"| {LABELS[name]} | {percent(value)} | {interval(figures['intervals'][name]) or '–'} |"
        for name, value in figures["scores"].items()
    ]
    table = "\n".join(["| Score | Value | 95 % interval |", "|---|---|---|", *rows])
    genres = "\n".join(
        [
            "| Genre | Tracks | Recall | Precision |",
            "|---|---|---|---|",
            *(
                f"| {genre} | {own['tracks']} | {percent(own['recall'])} "
                f"| {percent(own['precision'])} |"
                for genre, own in figures["by_genre"].items()
            ),
        ]
    )
    by = "artist" if figures["grouped_by_artist"] else "track"
    lines = [
        f"On {counted(figures['tracks'], 'track')}; {figures['protocol']}. Intervals are of a "
        f"bootstrap by {by}.",
        table,
        genres,
    ]
    if figures["leaked"]:
        lines.insert(0, "**Leaked: tested on tracks that it was trained on; they mean nothing.**")
    if figures["command"]:
        lines.append(f"```sh\n{figures['command']}\n```")
    return lines


def _front_matter(about: dict[str, Any]) -> str:
    licence, figures = about["licence"], about["figures"]
    known = licence.casefold() in _HUB_LICENCES
    fields: dict[str, Any] = {
        "license": licence.casefold() if known else "other",
        **({} if known else {"license_name": licence}),
        "library_name": "genrescope",
        "pipeline_tag": "audio-classification",
        "tags": ["music", "music-genre-classification", "onnx", "genrescope"],
    }
    if figures is not None and not figures["leaked"]:
        data = (about["data"] or {}).get("name") or "unnamed"
        metrics = [
            {"type": kind, "name": LABELS[name], "value": round(figures["scores"][name], 4)}
            for kind, name in (("accuracy", "accuracy"), ("f1", "macro_f1"))
            if name in figures["scores"]
        ]
        fields["model-index"] = [
            {
                "name": about["name"],
                "results": [
                    {
                        "task": {"type": "audio-classification", "name": "Music genre"},
                        "dataset": {"type": data, "name": data},
                        "metrics": metrics,
                    }
                ],
            }
        ]
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---\n\n"


def pack(bundle: Bundle, out: str | PathLike[str]) -> None:
    """Write a bundle with its model card as one `.zip`, atomically.

    Raises
    ------
    FileError
        When the file can't be written.
    """
    manifest = bundle.manifest.to_json()
    members = {CARD: model_card(bundle).encode(), "bundle.json": manifest}
    members |= {"model.onnx": bundle.model}
    if bundle.weights is not None:
        members[WEIGHTS_FILE] = bundle.weights
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), data, zipfile.ZIP_DEFLATED)
    try:
        write_atomic(Path(out), content.getvalue())
    except OSError as error:
        raise FileError(out, f"can't be written: {error.strerror or error}") from None
