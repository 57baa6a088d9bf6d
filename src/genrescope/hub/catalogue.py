"""The models that can be fetched: published weights, and how they become a bundle.

A fetched model is a bundle in the user's data folder, `models/NAME`, made from the weights that its
authors publish. Nothing of theirs comes with the package, and no torch is needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrescope import __version__
from genrescope.encoders.weights import Weights, digest, find, keep, locate, obtain
from genrescope.errors import BundleError, FileError
from genrescope.features import Frontend, SegmentSettings
from genrescope.hub import discogs
from genrescope.hub.graph import graph_of, weights_of
from genrescope.inference import Bundle, Manifest
from genrescope.inference.bundle import fetched_folder
from genrescope.inference.labels import GenreEvidence, LabelHead
from genrescope.registry import did_you_mean
from genrescope.taxonomy import taxonomy

_HERE = Path(__file__).parent
_RELEASE = "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1"
_PAPER = (
    "Schmid, Koutini, Widmer: Efficient large-scale audio tagging via transformer-to-CNN "
    "knowledge distillation, ICASSP 2023"
)


@dataclass(frozen=True)
class KnownModel:
    """A model that can be fetched.

    Attributes
    ----------
    name
        As users name it.
    about
        What it is, in a few words.
    weights
        The published file.
    graph
        Name of its graph in this package; "" where the file holds the graph.
    paper
        Who made it.
    further
        Further published files that it needs.
    """

    name: str
    about: str
    weights: Weights
    graph: str
    paper: str
    further: tuple[Weights, ...] = ()

    @property
    def folder(self) -> Path:
        """Where its bundle is, or will be."""
        return fetched_folder() / self.name

    def is_here(self) -> bool:
        """Whether it has been fetched."""
        return (self.folder / "bundle.json").is_file()


AUDIOSET = KnownModel(
    name="audioset",
    about="19 genres, their styles, instruments, moods, and what is no music; EfficientAT mn04",
    weights=Weights(
        file="mn04_as_mAP_432.pt",
        url=f"{_RELEASE}/mn04_as_mAP_432.pt",
        sha256="899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c",
        size=4_066_513,
        licence="MIT",
        about="EfficientAT, width 0.4, AudioSet, mean average precision 0.432",
    ),
    graph="efficientat_mn04",
    paper=_PAPER,
)
AUDIOSET_LARGE = KnownModel(
    name="audioset-large",
    about="as audioset, five times the size; EfficientAT mn10; its genres were not measured here",
    weights=Weights(
        file="mn10_as_mAP_471.pt",
        url=f"{_RELEASE}/mn10_as_mAP_471.pt",
        sha256="0bd7dc2443af498c289a2e739f02ebb515d6aa3fd3ab9db539c86123ae368a4e",
        size=19_708_753,
        licence="MIT",
        about="EfficientAT, width 1, AudioSet, mean average precision 0.471",
    ),
    graph="efficientat_mn10",
    paper=_PAPER,
)
_ESSENTIA = "https://essentia.upf.edu/models"
_NON_COMMERCIAL = "CC-BY-NC-SA-4.0"
DISCOGS = KnownModel(
    name="discogs400",
    about="Discogs' genres and 400 styles; Essentia's EffNet; not for commercial use",
    weights=Weights(
        file="discogs-effnet-bsdynamic-1.onnx",
        url=f"{_ESSENTIA}/feature-extractors/discogs-effnet/discogs-effnet-bsdynamic-1.onnx",
        sha256="",
        size=18_027_718,
        licence=_NON_COMMERCIAL,
        about="Essentia's graph of embeddings and styles",
    ),
    graph="",
    paper=(
        "Alonso-Jiménez, Serra, Bogdanov: Music representation learning based on editorial "
        "metadata from Discogs, ISMIR 2022"
    ),
    further=(
        Weights(
            file="genre_discogs400-discogs-effnet-1.json",
            url=f"{_ESSENTIA}/classification-heads/genre_discogs400"
            "/genre_discogs400-discogs-effnet-1.json",
            sha256="",
            size=15_000,
            licence=_NON_COMMERCIAL,
            about="the names of the styles",
        ),
    ),
)
KNOWN = {model.name: model for model in (AUDIOSET, AUDIOSET_LARGE, DISCOGS)}


def known_model(name: str) -> KnownModel:
    """A model that can be fetched, by its name.

    Raises
    ------
    BundleError
        When there is none of that name.
    """
    if name not in KNOWN:
        raise BundleError(
            name,
            f"no such model to fetch{did_you_mean(name, KNOWN)}; there are: {', '.join(KNOWN)}",
        )
    return KNOWN[name]


def fetch(
    model: KnownModel,
    given: Path | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Path:
    """Make a model's bundle from its published weights, which are downloaded if need be.

    Parameters
    ----------
    model
        One of `KNOWN`.
    given
        The file of weights, or a folder that holds it; by default the cache, or its published
        address.
    report
        Is told the bytes that are here, and all there are.

    Returns
    -------
    Path
        The bundle's folder.

    Raises
    ------
    WeightsError
        When the weights can't be had, or are not what was published.
    FileError
        When they don't fit, or the bundle can't be written.
    """
    from genrescope.encoders.weights import fetch as download

    def file(weights: Weights) -> Path:
        if given is not None:
            found = find(weights, locate(weights, model.weights, given) or given.parent)
            if weights.sha256:  # encoders find it there, too
                keep(weights, found)
            return found
        return obtain(weights) if report is None else download(weights, report)

    path = file(model.weights)
    if model.further:
        bundle = make_style_bundle(model, path, *map(file, model.further))
    else:
        bundle = make_bundle(model, path)
    try:
        bundle.save(model.folder)
    except OSError as error:
        raise FileError(model.folder, f"can't be written: {error.strerror or error}") from None
    return model.folder


def make_bundle(model: KnownModel, checkpoint: Path) -> Bundle:
    """The bundle of a model, from its published checkpoint.

    Raises
    ------
    FileError
        When the checkpoint is damaged, holds anything but tensors, or is another network's.
    """
    graph, weights = graph_of(model.graph), weights_of(model.graph, checkpoint)
    fitted = fitted_head()
    head = label_head(fitted["offsets"], fitted["music_above"])
    manifest = Manifest(
        schema_version=3,
        name=model.name,
        genres=list(head.genres),
        frontend=Frontend(
            feature={"kind": "efficientat_mel"},
            scale="none",
            segments=SegmentSettings(seconds=10.0, overlap=0.5),
        ),
        aggregation="mean_logits",
        temperature=fitted["temperature"],
        labels=head,
        provenance={
            "made_by": f"genrescope models fetch {model.name}",
            "version": __version__,
            "weights": model.weights.url,
            "weights_sha256": model.weights.sha256,
            "paper": model.paper,
            "taxonomy": "AudioSet ontology",
        },
        metrics={},
        licence=model.weights.licence,
        sha256=hashlib.sha256(graph).hexdigest(),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    return Bundle(manifest, graph, weights)


def is_outdated(manifest: Manifest) -> bool:
    """Whether `fetch` would now make another bundle of the same network.

    For models whose head comes with the package: its labels, offsets or temperature have
    changed since. Of other models it cannot be told, and the answer is False.
    """
    model = KNOWN.get(manifest.name)
    if model is None or not model.graph:
        return False
    fitted = fitted_head()
    head = label_head(fitted["offsets"], fitted["music_above"])
    return (manifest.labels, manifest.temperature) != (head, fitted["temperature"])


def make_style_bundle(model: KnownModel, extractor: Path, metadata: Path) -> Bundle:
    """The bundle of Discogs' styles, from the published graph and its metadata.

    Raises
    ------
    FileError
        When they are damaged, or of another model.
    """
    pairs = discogs.read_styles(metadata)
    head: Path | None = extractor.with_name(discogs.HEAD_FILE)
    head = head if head is not None and head.is_file() else None
    graph = discogs.style_graph(extractor, pairs, head)
    labels = discogs.style_head(pairs)
    used = (extractor, metadata, *([head] if head else []))
    manifest = Manifest(
        schema_version=3,
        name=model.name,
        genres=list(labels.genres),
        frontend=Frontend(
            feature={"kind": "musicnn_mel"},
            scale="none",
            # As Essentia cuts them: 128 frames, the next begins 62 frames later.
            segments=SegmentSettings(seconds=128 * 256 / 16000, overlap=1 - 62 / 128),
        ),
        aggregation="mean_logits",
        labels=labels,
        provenance={
            "made_by": f"genrescope models fetch {model.name}",
            "version": __version__,
            "weights": model.weights.url,
            "files_sha256": {path.name: digest(path) for path in used},
            "paper": model.paper,
            "taxonomy": "Discogs",
        },
        metrics={},
        licence=model.weights.licence,
        sha256=hashlib.sha256(graph).hexdigest(),
    )
    return Bundle(manifest, graph)


def fitted_head() -> dict[str, Any]:
    """Offsets, temperature and threshold of the AudioSet head, as `tools/audioset_head.py` fits."""
    fields: dict[str, Any] = json.loads((_HERE / "audioset.json").read_text("utf-8"))
    return fields


def audioset_labels() -> list[str]:
    """The names of AudioSet's 527 labels, in the order of the networks' outputs."""
    return (_HERE / "audioset_labels.txt").read_text("utf-8").splitlines()


def label_head(offsets: dict[str, float], music_above: float) -> LabelHead:
    """The head that reads AudioSet's labels by the taxonomy."""
    number = {label: index for index, label in enumerate(audioset_labels())}
    tree = taxonomy()

    def numbered(names: Any) -> dict[str, int]:
        return {name: number[label] for name, label in names.items()}

    return LabelHead(
        size=len(number),
        genres={
            name: GenreEvidence(
                labels=tuple(number[label] for label in genre.labels),
                offset=offsets.get(name, 0.0),
            )
            for name, genre in tree.genres.items()
        },
        music=number["Music"],
        music_above=music_above,
        styles=numbered(
            {
                style: label
                for genre in tree.genres.values()
                for style, label in genre.styles.items()
            }
        ),
        instruments=numbered(tree.instruments),
        moods=numbered(tree.moods),
        uses=numbered(tree.uses),
        sounds={name: tuple(number[label] for label in ls) for name, ls in tree.sounds.items()},
    )
