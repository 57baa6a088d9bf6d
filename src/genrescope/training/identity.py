"""What a run computes with besides its recipe and its tracks' names, as hashes.

A recipe names weights and models, and a data set names files. Whether these are what they were when
a run was begun only their content says: a run resumes with the same content alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genrescope.datasets import Track
from genrescope.encoders import encoder_kinds, make_encoder
from genrescope.encoders.layer import weights_hashes
from genrescope.encoders.weights import digest
from genrescope.errors import FileError, UnreadableError
from genrescope.features.cache import FeatureCache
from genrescope.inference import Bundle
from genrescope.training.recipe import Recipe
from genrescope.training.settings import BundleSettings, EmbeddingSettings


def hash_inputs(recipe: Recipe, teacher: Mapping[str, NDArray[np.float32]]) -> dict[str, str]:
    """Hashes of the teacher's targets, of weights, and of the model whose embedding is the feature.

    Parameters
    ----------
    recipe
        Recipe of the run.
    teacher
        A teacher's targets `[n, targets]` by track id.

    Returns
    -------
    dict
        By "teacher", "weights" and "model", without what the run has none of.

    Raises
    ------
    WeightsError
        When weights can't be read.
    BundleError
        When the model can't be read.
    """
    found = {"teacher": _hash_targets(teacher)} if teacher else {}
    if weights := [one for network in recipe.networks for one in _weights(network)]:
        found["weights"] = _joined(dict.fromkeys(weights))
    if isinstance(recipe.embedding, BundleSettings):
        manifest = Bundle.load(recipe.embedding.bundle).manifest
        found["model"] = _joined([manifest.sha256, manifest.weights_sha256 or ""])
    return found


def hash_files(recipe: Recipe, tracks: Iterable[Track], cache: FeatureCache) -> str:
    """Hash of the ids and the files of tracks; "" where the recipe's feature is stored vectors.

    Parameters
    ----------
    recipe
        Recipe of the run.
    tracks
        A file that is not there has no hash.
    cache
        Which knows the hash of a file whose features were read through it.

    Raises
    ------
    UnreadableError
        When the disk does not give a file this time.
    """
    if recipe.feature.get("kind") == "stored":
        return ""

    def content(track: Track) -> str:
        try:
            return cache.content(track.path)
        except UnreadableError:
            raise
        except FileError:
            return ""

    return _joined(part for track in tracks for part in (track.id, content(track)))


def _weights(network: Recipe) -> list[str]:
    """Hashes of the weights that one network begins with, or whose embedding is its feature."""
    match network.embedding:
        case EmbeddingSettings(encoder=str(name), weights_seed=seed):
            pass
        case _:
            name, seed = str(network.model.get("encoder")), network.model.get("weights_seed")
    if name in encoder_kinds():
        return weights_hashes(make_encoder(name, network.weights, weights_seed=seed))
    # Of a model of another package.
    return [] if network.weights is None else [_hash_path(network.weights)]


def _hash_path(path: Path) -> str:
    """Hash of a file, or of all files in a folder."""
    if not path.is_dir():
        return digest(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return _joined(p for file in files for p in (str(file.relative_to(path)), digest(file)))


def _hash_targets(targets: Mapping[str, NDArray[np.float32]]) -> str:
    content = hashlib.sha256()
    for track in sorted(targets):
        values = np.ascontiguousarray(targets[track], np.float32)
        content.update(f"{track!a} {values.shape}\n".encode())
        content.update(values.tobytes())
    return content.hexdigest()


def _joined(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(ascii(part) for part in parts).encode()).hexdigest()
