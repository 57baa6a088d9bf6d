"""Bundles of trained models, and what they say of themselves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from genrescope import __version__
from genrescope.encoders import encoder_class, encoder_kinds
from genrescope.inference import Bundle, Manifest
from genrescope.inference.labels import MUSIC
from genrescope.training.data import TrainingData
from genrescope.training.graphs import split_weights
from genrescope.training.recipe import Recipe
from genrescope.training.settings import BundleSettings, EmbeddingSettings
from genrescope.wording import counted

# Protocol buffers end at 2 GB, and parsing one holds its content twice.
LARGE = 100 * 2**20
# A model should name a genre for nearly all that it was trained on.
_REFUSED = 0.1


def make_bundle(model: bytes, *, large: int = LARGE, **manifest: Any) -> Bundle:
    """Make a bundle of a graph.

    Parameters
    ----------
    model
        An ONNX graph that contains its weights.
    large
        Bytes; the weights of a larger graph are stored in `model.onnx.data`.
    manifest
        Fields of the manifest except for the SHA-256s.
    """
    graph, weights = split_weights(model) if len(model) > large else (model, None)
    digests = {"sha256": hashlib.sha256(graph).hexdigest(), "weights_sha256": None}
    if weights is not None:
        digests["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    return Bundle(Manifest(**{**manifest, **digests}), graph, weights)


@dataclass(frozen=True)
class Origin:
    """Where a trained model comes from: the recipe as it was carried out, and the data set.

    Attributes
    ----------
    recipe
        As it was carried out.
    data
        Description of the data set.
    """

    recipe: Recipe
    data: dict[str, Any]

    def bundle(
        self,
        graph: bytes,
        data: TrainingData,
        temperature: float = 1.0,
        metrics: dict[str, Any] | None = None,
        training_tracks: dict[str, str] | None = None,
    ) -> Bundle:
        """Make a bundle of a trained model's graph.

        Its licence names those of the weights that the graph contains, too, and its description is
        of this run: a recipe's own may be of other data.
        """
        recipe = self.recipe.portable
        recipe["description"] = self._description(data)
        return make_bundle(
            graph,
            name=self.recipe.name,
            genres=list(data.genres),
            frontend=self.recipe.frontend,
            aggregation=self.recipe.aggregation,
            temperature=temperature,
            provenance={
                "recipe": recipe,
                "data": self.data,
                "genrescope": __version__,
                **_torch_version(),
                **self._encoder(),
            },
            metrics=metrics or {},
            licence=licence_of(self.recipe),
            training_tracks=training_tracks,
            **self._music_detector(data),
        )

    def _description(self, data: TrainingData) -> str:
        """Provenance: the recipe and the data."""
        networks, kind = len(self.recipe.networks), self.recipe.model.get("kind")
        name = self.recipe.model.get("name", kind)
        model = f"{networks} networks ({name})" if networks > 1 else f"one model ({name})"
        known = f"{counted(len(data.genres), 'genre')}, {counted(len(data.tracks), 'track')}"
        return f"{known} of {self.data.get('name') or 'unnamed data'}; {model}"

    def _music_detector(self, data: TrainingData) -> dict[str, Any]:
        """What tells music from other sounds: the embedding, and so this, is the encoder's.

        Own genres may be sounds that it does not take for music, such as speech or noise. It is
        left out where it would refuse half of a genre's tracks, or more than `_REFUSED` of all.
        """
        if not isinstance(self.recipe.embedding, BundleSettings):
            return {}
        detector = Bundle.load(self.recipe.embedding.bundle).manifest.music_detector
        if detector is None:
            return {}
        refused: dict[str, list[bool]] = {}
        for name, track in data.tracks.items():
            # An encoder's vector ends with its embedding.
            vectors = data.segments(name)[:, -len(detector.mean) :, 0]
            kind = detector.read(vectors.mean(axis=0)).kind
            refused.setdefault(track.genre, []).append(kind != MUSIC)
        share = sum(map(sum, refused.values())) / len(data.tracks)
        if share > _REFUSED or any(2 * sum(own) >= len(own) for own in refused.values()):
            return {}
        return {"schema_version": 3, "music_detector": detector}

    def _encoder(self) -> dict[str, Any]:
        """The trained model whose network is part of this one, as provenance."""
        if not isinstance(self.recipe.embedding, BundleSettings):
            return {}
        bundle = Bundle.load(self.recipe.embedding.bundle).manifest
        origin = {"data": bundle.provenance.get("data"), "sha256": bundle.sha256}
        return {"encoder": {"name": bundle.name, "licence": bundle.licence, **origin}}


def licence_of(recipe: Recipe) -> str:
    """The licence of a recipe's model, with those of the weights that it contains."""
    own = recipe.licence or "not stated"
    weights = [each for each in dict.fromkeys(_licences(recipe)) if each != own]
    return own if not weights else f"{own}; weights that are part of it: {', '.join(weights)}"


def _licences(recipe: Recipe) -> list[str]:
    """Licences of the pretrained weights that a recipe's model contains."""
    match recipe.embedding:
        case BundleSettings(bundle=bundle):
            return [Bundle.load(bundle).manifest.licence]
        case EmbeddingSettings(encoder=str(encoder), weights_seed=None):
            pass
        case _:
            encoder = str(recipe.model.get("encoder"))
            if encoder not in encoder_kinds() or recipe.model.get("weights_seed") is not None:
                return []
    return [weights.licence for weights in encoder_class(encoder).weights]


def _torch_version() -> dict[str, str]:
    """The version of torch, where it is installed: classifiers of scikit-learn need none."""
    try:
        return {"torch": version("torch")}
    except PackageNotFoundError:
        return {}
