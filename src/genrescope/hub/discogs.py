"""Discogs' 400 styles by Essentia's networks, as a bundle.

Alonso-Jiménez, Serra and Bogdanov, "Music representation learning based on editorial metadata from
Discogs" (ISMIR 2022). The Music Technology Group publishes `discogs-effnet-bsdynamic-1.onnx`, which
gives embeddings and the probabilities of the 400 styles, and a JSON file that names the styles in
order ("Electronic---Techno"), under CC BY-NC-SA 4.0: not for commercial use. The head
`genre_discogs400-discogs-effnet-1`, from the same embeddings to the same styles, is published for
TensorFlow; its conversion to ONNX, with the ending `.onnx`, is used where it lies next to the other
files.

The bundle's labels are the 400 styles, and one that says that it is music: the opposite of the most
probable style of the genre "Non-Music".
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from genrescope.errors import FileError
from genrescope.hub.join import (
    SEGMENTS,
    Graph,
    largest_node,
    logit_nodes,
    model_of,
    node,
    numbers_of,
    read_graph,
)
from genrescope.inference.labels import GenreEvidence, LabelHead
from genrescope.taxonomy import taxonomy

HEAD_FILE = "genre_discogs400-discogs-effnet-1.onnx"
STYLES, EMBEDDING, BANDS, FRAMES = 400, 1280, 96, 128
MUSIC_ABOVE = 0.5
_NO_MUSIC = "Non-Music"
_BETWEEN = "---"


def read_styles(path: Path) -> list[tuple[str, str]]:
    """Genre and style of each output, from the metadata of the model.

    Raises
    ------
    FileError
        When it is damaged, or names other than 400 different styles.
    """
    try:
        names = json.loads(path.read_bytes())["classes"]
        pairs = [(genre, style) for genre, _, style in (n.partition(_BETWEEN) for n in names)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(path, f"not the metadata of the model: {error!r}") from None
    printable = all(g.strip() and s.strip() and (g + s).isprintable() for g, s in pairs)
    if len(set(pairs)) != STYLES or len(pairs) != STYLES or not printable:
        raise FileError(path, f"expected {STYLES} classes such as Electronic{_BETWEEN}Techno")
    if len({genre for genre, _ in pairs if genre != _NO_MUSIC}) < 2:
        raise FileError(path, "expected several genres")
    return pairs


def style_head(pairs: list[tuple[str, str]]) -> LabelHead:
    """How the logits are read: a genre is its most probable style."""
    genres: dict[str, list[int]] = {}
    counts = Counter(style for genre, style in pairs if genre != _NO_MUSIC)
    styles, parents = {}, {}
    for number, (discogs, style) in enumerate(pairs):
        if discogs == _NO_MUSIC:
            continue
        genre = taxonomy().find(discogs) or discogs.lower()
        genres.setdefault(genre, []).append(number)
        name = style if counts[style] == 1 else f"{style} ({discogs})"
        styles[name], parents[name] = number, genre
    return LabelHead(
        size=STYLES + 1,
        genres={name: GenreEvidence(labels=tuple(ls)) for name, ls in sorted(genres.items())},
        music=STYLES,
        music_above=MUSIC_ABOVE,
        styles=styles,
        style_genres=parents,
    )


def style_graph(extractor: Path, pairs: list[tuple[str, str]], head: Path | None) -> bytes:
    """One graph from segments `[n, 96, 128]` to `logits` `[n, 401]` and `embedding` `[n, 1280]`.

    Parameters
    ----------
    extractor
        The published graph, from `[n, 128, 96]` to styles and embeddings.
    pairs
        Genre and style of each output.
    head
        Another graph from embeddings to the styles' probabilities.

    Raises
    ------
    FileError
        When a graph is of another signature.
    """
    base = _checked(extractor, "extractor/", [FRAMES, BANDS], EMBEDDING)
    nodes = [node("Transpose", [SEGMENTS], [base.source], perm=[0, 2, 1]), *base.nodes]
    initializers, embedding = [*base.initializers], base.outputs[EMBEDDING]
    if head is not None:
        top = _checked(head, "head/", [EMBEDDING], STYLES)
        if top.opsets != base.opsets:
            raise FileError(head, "its operators are of another version than the extractor's")
        nodes += [node("Identity", [embedding], [top.source]), *top.nodes]
        initializers += top.initializers
        styles = top.outputs[STYLES]
    elif STYLES in base.outputs:
        styles = base.outputs[STYLES]
    else:
        raise FileError(extractor, f"gives no {STYLES} styles, and {HEAD_FILE} is not next to it")
    added, numbers = logit_nodes(styles, "style logits", "logit/")
    spoken = [number for number, (genre, _) in enumerate(pairs) if genre == _NO_MUSIC]
    music = [numbers_of("no music", spoken or [0])]
    largest, axes = largest_node(base, "of no music", "most")
    music += axes
    added += [
        node("Gather", ["style logits", "no music"], ["of no music"], axis=[1]),
        largest,
        node("Neg", ["most"], ["music"]),
        node("Concat", ["style logits", "music"], ["logits"], axis=[1]),
        node("Identity", [embedding], ["embedding"]),
    ]
    outputs = {"logits": STYLES + 1, "embedding": EMBEDDING}
    everything = [*initializers, *numbers, *music]
    return model_of(base, [*nodes, *added], everything, outputs, [BANDS, FRAMES])


def _checked(path: Path, prefix: str, shape: list[Any], size: int) -> Graph:
    graph = read_graph(path, prefix)
    if graph.shape != shape or size not in graph.outputs:
        expected = f"[n, {', '.join(map(str, shape))}] to [n, {size}]"
        raise FileError(path, f"not the published graph: expected one from {expected}")
    return graph
