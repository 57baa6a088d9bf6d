"""A trained model as data: one folder (or `.zip`) with `model.onnx` and `bundle.json`.

Loading one runs no code from it: the network is an ONNX graph, all else is JSON, and the graph's
SHA-256 is checked before it is used.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from genrescope.atomic import write_atomic
from genrescope.errors import BundleError, RecipeError
from genrescope.features import Frontend
from genrescope.voting import Voting

SCHEMA_VERSION: Literal[1] = 1
SHIPPED = Path(__file__).resolve().parents[1] / "bundles"
# A small archive can claim to hold any number of bytes; no model that is used here comes near.
_LARGEST = {"bundle.json": 2**24, "model.onnx": 2**30}


class Manifest(BaseModel):
    """What `bundle.json` says of the model.

    Attributes
    ----------
    genres
        Names in the order of the network's outputs.
    frontend
        Feature, scaling and segments.
    voting
        How the segments' probabilities become the track's, see `genrescope.voting`.
    temperature
        Divides the logits before the softmax, so that probabilities are calibrated.
    provenance
        Recipe, data, split, seed, package version: how to make it again.
    metrics
        What was measured of it, with the number of tracks and intervals.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    genres: list[str] = Field(min_length=2)
    frontend: Frontend
    voting: Voting = "mean"
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    provenance: dict[str, Any]
    metrics: dict[str, Any]
    licence: str
    sha256: str

    @field_validator("genres")
    @classmethod
    def _tellable(cls, genres: list[str]) -> list[str]:
        """Names are keys of results, and are printed and written into tags."""
        if len(set(genres)) < len(genres) or not all(g.strip() and g.isprintable() for g in genres):
            raise ValueError("wanted are different names, each one line of text")
        return genres


@dataclass(frozen=True)
class Bundle:
    """A manifest and the bytes of its network."""

    manifest: Manifest
    model: bytes

    @classmethod
    def load(cls, source: str | PathLike[str]) -> Bundle:
        """Read a bundle: the name of one that is shipped ("default"), a folder, or a `.zip`.

        A run folder of `genrescope train` does as well: its `bundle` is taken.

        Raises
        ------
        BundleError
            When it is missing, damaged, or of another schema.
        """
        path = Path(source)
        try:
            if str(source) in shipped_bundles():
                path = SHIPPED / str(source)
            elif (path / "bundle").is_dir():
                path = path / "bundle"
            text, model = _read_zip(path) if path.is_file() else _read_folder(path)
        except (FileNotFoundError, KeyError):
            names = ", ".join(shipped_bundles())
            reason = f"no bundle.json and model.onnx there; shipped models: {names}"
            raise BundleError(source, reason) from None
        except (*_UNREADABLE, OSError) as error:
            raise BundleError(source, f"not a bundle ({error})") from None
        try:
            fields = json.loads(text)
            version = fields.get("schema_version") if isinstance(fields, dict) else None
            if version != SCHEMA_VERSION:
                raise BundleError(source, f"schema version {version}, not {SCHEMA_VERSION}")
            manifest = Manifest.model_validate(fields)
        except (ValidationError, ValueError, RecursionError, RecipeError) as error:
            first = str(error).splitlines()
            raise BundleError(source, f"bundle.json is not valid: {' '.join(first[:3])}") from None
        if hashlib.sha256(model).hexdigest() != manifest.sha256:
            raise BundleError(source, "model.onnx is not the file that bundle.json was made for")
        return cls(manifest, model)

    def save(self, folder: str | PathLike[str]) -> None:
        """Write the bundle as a folder; an interrupted write leaves the old one or none."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        write_atomic(target / "model.onnx", self.model)
        text = self.manifest.model_dump_json(indent=1)
        write_atomic(target / "bundle.json", (text + "\n").encode())


def shipped_bundles() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.name for p in SHIPPED.iterdir() if (p / "bundle.json").is_file())


# What `zipfile` raises for archives that are damaged, encrypted or packed in an unknown way.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


def _read_folder(path: Path) -> tuple[bytes, bytes]:
    return (path / "bundle.json").read_bytes(), (path / "model.onnx").read_bytes()


def _read_zip(path: Path) -> tuple[bytes, bytes]:
    """Read both members, wherever in the archive they lie."""
    with zipfile.ZipFile(path) as archive:
        names = {Path(name).name: name for name in archive.namelist()}
        for name, most in _LARGEST.items():
            if archive.getinfo(names[name]).file_size > most:
                raise ValueError(f"{name} is larger than {most // 2**20} MB")
        return archive.read(names["bundle.json"]), archive.read(names["model.onnx"])
