"""`genrescope info`: what a model says of itself."""

from __future__ import annotations

import json
from typing import Any

import typer

from genrescope.cli.terminal import Format, notice, printable, styled
from genrescope.errors import BundleError
from genrescope.wording import counted, size_in_words

_SHOWN = (*("name", "description", "genres", "styles", "instruments", "moods"), "licence")


def info(
    model: str = typer.Argument("default", help="A model's name, a run, or a bundle."),
    format: Format = typer.Option(Format.table, "--format", "-f", help="How it is written."),
    as_json: bool = typer.Option(False, "--json", help="The same as --format json."),
) -> None:
    """Show what a model knows, what it was trained on, and what was measured of it.

    Examples:

      genrescope info

      genrescope info runs/my-model

      genrescope info model.zip --json
    """
    from genrescope.evaluation.model_card import describe_bundle
    from genrescope.hub.catalogue import KNOWN
    from genrescope.inference import Bundle
    from genrescope.inference.bundle import fetched_bundles

    if model in KNOWN and model not in fetched_bundles():
        known = KNOWN[model]
        fields: dict[str, Any] = {
            "name": model,
            "here": False,
            "about": known.about,
            "licence": known.weights.licence,
            "weights": known.weights.url,
            "sha256": known.weights.sha256,
            "paper": known.paper,
        }
        lines = {key: value for key, value in fields.items() if key != "here"}
        lines["get it with"] = f"genrescope models fetch {model}"
    else:
        fields = {"here": True, **describe_bundle(Bundle.load(model))}
        lines = {key: fields[key] for key in _SHOWN} | _details(fields)
    note_outdated(model)
    if format is Format.json or as_json:
        typer.echo(json.dumps(fields, indent=1))
        return
    from genrescope.cli.terminal import stdout

    for key, value in lines.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        if shown not in ("", None):
            text = printable(str(shown))
            stdout.print(styled("bold", (f"{key}: ", ""), (text, "not bold")))


def _details(fields: dict[str, Any]) -> dict[str, Any]:
    from genrescope.evaluation.formatting import interval, percent
    from genrescope.evaluation.metrics import LABELS
    from genrescope.evaluation.model_card import frontend_in_words

    data, figures = fields["data"] or {}, fields["figures"]
    lines: dict[str, Any] = {}
    if data:
        artists = data.get("with_artist")
        known = f", {artists} with a known artist" if artists is not None else ""
        tracks = counted(data["tracks"], "track") if data.get("tracks") else "unknown tracks"
        lines["trained on"] = f"{data.get('name')}, {tracks}{known}"
    if encoder := fields["provenance"].get("encoder"):
        trained = (encoder.get("data") or {}).get("name")
        known = f", trained on {trained}" if trained else ""
        lines["on the embedding of"] = encoder["name"] + known
    if figures:
        for name in ("accuracy", "macro_f1", "expected_calibration_error"):
            if name in figures["scores"]:
                ends = interval(figures["intervals"][name])
                value = percent(figures["scores"][name])
                lines[LABELS[name]] = f"{value} (95 % interval {ends})" if ends else value
        leak = "LEAKED, these mean nothing: " if figures["leaked"] else ""
        lines["measured on"] = f"{leak}{counted(figures['tracks'], 'track')}; {figures['protocol']}"
    lines["size"] = size_in_words(fields["bytes"])
    lines["front end"] = frontend_in_words(fields["frontend"])
    for key, value in fields["provenance"].items():
        if isinstance(value, str) and key != "description":
            lines[key.replace("_", " ")] = value
    return lines


def is_outdated(name: str) -> bool:
    """Whether a fetched model should be fetched again; also one that can't be read."""
    from genrescope.hub import catalogue
    from genrescope.inference import Bundle

    try:
        return catalogue.is_outdated(Bundle.load(name).manifest)
    except BundleError:
        return True


def note_outdated(model: str) -> None:
    """Say where a fetched model was made by an older version, and how it is made anew."""
    from genrescope.inference.bundle import fetched_bundles

    if model in fetched_bundles() and is_outdated(model):
        notice(
            f"{model} was fetched by another version of Genrescope, whose genres and probabilities "
            f"differ; to renew it: genrescope models fetch {model}"
        )
