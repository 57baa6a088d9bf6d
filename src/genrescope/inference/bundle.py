"""A trained model as data: one folder (or `.zip`) with `model.onnx` and `bundle.json`.

Loading a bundle runs no code from it: the network is an ONNX graph, the rest is JSON, and the
SHA-256 of the graph is checked before it is used. Weights of more than 100 MB are in a file next
to the graph, as ONNX external data in `model.onnx.data`, whose SHA-256 is checked as well.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from genrescope.aggregation import Aggregation
from genrescope.atomic import write_atomic
from genrescope.errors import BundleError, RecipeError
from genrescope.features import Frontend
from genrescope.inference.labels import LabelHead, MusicDetector
from genrescope.legacy import renamed_manifest
from genrescope.onnx_session import WEIGHTS_FILE
from genrescope.paths import data_folder
from genrescope.registry import did_you_mean
from genrescope.untrusted import parse_json, read_limited
from genrescope.wording import counted, size_in_words, valid_text

SCHEMA_VERSION: Literal[2] = 2
KNOWN_VERSIONS = (2, 3)
"""3 has `labels` or `music_detector`, which versions before 0.2 do not know; 2 has neither."""
SHIPPED = Path(__file__).resolve().parents[1] / "bundles"
_JOBS = "jobs"  # this folder is in a run folder from its beginning
# A small archive can expand to any number of bytes; no model comes near these limits.
_LARGEST = {"bundle.json": 2**24, "model.onnx": 2**30, WEIGHTS_FILE: 2**32}


class Manifest(BaseModel):
    """The description of a model in `bundle.json`.

    Attributes
    ----------
    genres
        Names in the order of the network's outputs.
    frontend
        Feature, scaling and segments.
    aggregation
        How the segments' probabilities become the track's, see `genrescope.aggregation`.
    temperature
        Divides the logits before the softmax, so that probabilities are calibrated.
    provenance
        Recipe, data, split, seed and package version: how to reproduce the model.
    metrics
        Measured figures, with the number of tracks and confidence intervals.
    sha256
        SHA-256 of `model.onnx`.
    weights_sha256
        SHA-256 of `model.onnx.data`; None where the graph holds its weights itself.
    labels
        How the logits of a sound tagger become genres; None where the logits are of genres.
    music_detector
        Recognises music by the embedding; None where nothing does, or where `labels` do.
    training_tracks
        Ids and fingerprints of the tracks that the model was trained on, see
        `genrescope.datasets.fingerprints`; None where they are not listed.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)

    schema_version: Literal[2, 3] = SCHEMA_VERSION
    name: str
    genres: list[str] = Field(min_length=2)
    frontend: Frontend
    aggregation: Aggregation = "mean_probability"
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    provenance: dict[str, Any]
    metrics: dict[str, Any]
    licence: str
    sha256: str
    weights_sha256: str | None = None
    labels: LabelHead | None = None
    music_detector: MusicDetector | None = None
    training_tracks: dict[str, str] | None = None

    @property
    def detector(self) -> str | None:
        """Fingerprint of what tells music from other sounds; None where the model can't."""
        if self.labels is not None:
            rules = f"{self.labels.music} {self.labels.music_above}"
        elif self.music_detector is not None:
            rules = self.music_detector.model_dump_json()
        else:
            return None
        return hashlib.sha256(rules.encode()).hexdigest()[:16]

    @field_validator("name", "provenance", "metrics", "licence", "training_tracks", mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        """Make text valid: names of files may hold bytes that are not UTF-8."""
        return _valid_texts(value)

    @model_validator(mode="after")
    def _genres_of_labels(self) -> Self:
        if self.labels is not None and list(self.labels.genres) != self.genres:
            raise ValueError("the genres of labels are not the model's genres")
        return self

    @field_validator("genres")
    @classmethod
    def _distinct(cls, genres: list[str]) -> list[str]:
        """Check names, which are keys of results and are printed and written into tags."""
        if len(set(genres)) < len(genres) or not all(g.strip() and g.isprintable() for g in genres):
            raise ValueError("expected different names, each one line of text")
        return genres

    def to_json(self) -> bytes:
        """The content of `bundle.json`.

        Older versions refuse fields that they do not know, so newer fields are written only where
        they have a value.
        """
        newer = ("weights_sha256", "labels", "music_detector", "training_tracks")
        without = {name for name in newer if getattr(self, name) is None}
        return (self.model_dump_json(indent=1, exclude=without) + "\n").encode()


def _valid_texts(value: Any) -> Any:
    """A value in which all texts, also those in lists and mappings, are valid."""
    if isinstance(value, Mapping):
        return {_valid_texts(key): _valid_texts(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_valid_texts(own) for own in value]
    return valid_text(value) if isinstance(value, str) else value


@dataclass(frozen=True, repr=False)
class Bundle:
    """A manifest and the bytes of its network; `weights` are those of `model.onnx.data`.

    Examples
    --------
    >>> from genrescope import Bundle
    >>> bundle = Bundle.load("default")
    >>> bundle.manifest.licence
    'Apache-2.0'
    """

    manifest: Manifest
    model: bytes
    weights: bytes | None = None

    def __repr__(self) -> str:
        genres = counted(len(self.manifest.genres), "genre")
        size = size_in_words(len(self.model) + len(self.weights or b""))
        return f"Bundle({self.manifest.name!r}, {genres}, {size})"

    @classmethod
    def load(cls, source: str | PathLike[str]) -> Bundle:
        """Read a bundle: the name of a shipped one ("default"), a folder, or a `.zip`.

        In a run folder of `genrescope train` its folder `bundle` is read.

        Raises
        ------
        BundleError
            When the bundle is missing, damaged, or of an unknown schema.
        """
        path = Path(source)
        try:
            if str(source) in shipped_bundles():
                path = SHIPPED / str(source)
            elif str(source) in fetched_bundles():
                path = fetched_folder() / str(source)
            elif (path / "bundle").is_dir():
                path = path / "bundle"
            text, model = _read(path, "bundle.json"), _read(path, "model.onnx")
        except (FileNotFoundError, KeyError):
            if (Path(source) / _JOBS).is_dir():
                reason = "a run that is not finished: the command that began it continues it"
                raise BundleError(source, reason) from None
            names = ", ".join(shipped_bundles())
            near = did_you_mean(source, [*shipped_bundles(), *fetched_bundles()])
            what = "no bundle.json and model.onnx in it" if path.exists() else "no such file"
            more = "for others see genrescope models list"
            raise BundleError(source, f"{what}{near}; shipped models: {names}; {more}") from None
        except (*_UNREADABLE, OSError) as error:
            raise BundleError(source, f"not a bundle ({error})") from None
        try:
            fields = parse_json(text)
            version = fields.get("schema_version") if isinstance(fields, dict) else None
            if version == 1:  # of version 0.1
                fields = renamed_manifest(fields)
            elif version not in KNOWN_VERSIONS:
                known = " or ".join(map(str, KNOWN_VERSIONS))
                what = f"schema version {version}, not {known}{_renewal(source)}"
                raise BundleError(source, what)
            manifest = Manifest.model_validate(fields)
        except (ValidationError, ValueError, RecursionError, RecipeError) as error:
            first = str(error).splitlines()
            raise BundleError(
                source, f"bundle.json is not valid: {' '.join(first[:3])}{_renewal(source)}"
            ) from None
        if hashlib.sha256(model).hexdigest() != manifest.sha256:
            raise BundleError(source, "model.onnx is not the file that bundle.json was made for")
        return cls(manifest, model, cls._weights(source, path, manifest.weights_sha256))

    @staticmethod
    def _weights(source: str | PathLike[str], path: Path, sha256: str | None) -> bytes | None:
        if sha256 is None:
            return None
        try:
            weights = _read(path, WEIGHTS_FILE)
        except (FileNotFoundError, KeyError):
            raise BundleError(source, f"{WEIGHTS_FILE} is missing") from None
        except (*_UNREADABLE, OSError) as error:
            raise BundleError(source, f"{WEIGHTS_FILE} can't be read ({error})") from None
        if hashlib.sha256(weights).hexdigest() != sha256:
            reason = f"{WEIGHTS_FILE} is not the file that bundle.json was made for"
            raise BundleError(source, reason)
        return weights

    def save(self, folder: str | PathLike[str]) -> None:
        """Write the bundle as a folder, each file atomically.

        `bundle.json` is written last: after an interruption it is missing, or it is the old one,
        whose SHA-256 does not match the new network, and the bundle is refused.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        if self.weights is not None:
            write_atomic(target / WEIGHTS_FILE, self.weights)
        write_atomic(target / "model.onnx", self.model)
        write_atomic(target / "bundle.json", self.manifest.to_json())
        if self.weights is None:
            (target / WEIGHTS_FILE).unlink(missing_ok=True)


def shipped_bundles() -> list[str]:
    """Names of the models that are part of the package."""
    return sorted(p.name for p in SHIPPED.iterdir() if (p / "bundle.json").is_file())


def fetched_folder() -> Path:
    """The folder of the models that were fetched with `genrescope models fetch`."""
    return data_folder("models")


def fetched_bundles() -> list[str]:
    """Names of the models that were fetched."""
    return sorted(path.parent.name for path in fetched_folder().glob("*/bundle.json"))


def _renewal(source: str | PathLike[str]) -> str:
    """For a fetched model that this version can't read: the command that renews it."""
    if str(source) not in fetched_bundles():
        return ""
    return f"; to renew it: genrescope models fetch {source}"


# What `zipfile` raises for archives that are damaged, encrypted or packed in an unknown way.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


def _read(path: Path, name: str) -> bytes:
    """Read one file of a folder, or of an archive in whichever folder of the archive it is."""
    if not path.is_file():
        return read_limited(path / name, _LARGEST[name])
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo({Path(n).name: n for n in archive.namelist()}[name])
        if member.file_size > _LARGEST[name]:
            raise ValueError(f"{name} is larger than {_LARGEST[name] // 2**20} MB")
        return archive.read(member)
