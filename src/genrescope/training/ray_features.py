"""The feature cache filled by a Ray cluster, before a training reads from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope.datasets import Track
from genrescope.errors import FileError, UnreadableError
from genrescope.features import Frontend, StreamInfo
from genrescope.features.cache import FeatureCache
from genrescope.inference.ray_engine import Piece, RayEngine
from genrescope.training.data import packed_window
from genrescope.training.reporter import Reporter
from genrescope.wording import counted

Array = NDArray[Any]


def fill_cache(
    engine: RayEngine, frontend: Frontend, tracks: Sequence[Track], reporter: Reporter
) -> None:
    """Compute the features that are not in this machine's cache, and store them there.

    The values are those that are computed without a cluster, bit for bit. Of a track that can't be
    read nothing is stored; who reads it next finds out why.

    Parameters
    ----------
    engine
        Its nodes read the tracks under their own paths.
    frontend
        Front end of the recipe.
    tracks
        The data set.
    reporter
        Told of progress, and of tracks that the cluster could not read.
    """
    if frontend.computed.kind == "stored":
        return
    cache, settings = FeatureCache(), frontend.model_dump_json()
    # A worker of the cluster has a folder of its own, so that paths have to be absolute.
    missing = [track.path.absolute() for track in tracks if _is_missing(cache, track, settings)]
    done, failed = len(tracks) - len(missing), 0
    for found in engine.results(_FeaturePipeline(frontend), missing):
        if isinstance(found, FileError):
            failed += 1
        else:
            content, values = found
            cache.store(content, settings, values)
        done += 1
        reporter.features(done, len(tracks))
    if failed:
        tracks_in_words = counted(failed, "track")
        reporter.notice(
            f"the cluster could not read {tracks_in_words}, which this machine reads: do all nodes "
            "have the data under the same paths?"
        )


def _is_missing(cache: FeatureCache, track: Track, settings: str) -> bool:
    try:
        return cache.get(track.path, settings) is None
    except FileError:
        return False


class _FeaturePipeline:
    """Windows as the cache keeps them; no network is run.

    A node may have another file under the same path: with each window comes the SHA-256 of the file
    that it was computed from.
    """

    def __init__(self, frontend: Frontend) -> None:
        self.frontend = frontend

    def __reduce__(self) -> tuple[type[_FeaturePipeline], tuple[Frontend]]:
        return type(self), (self.frontend,)

    def read(self, source: str, info: StreamInfo) -> Iterator[Piece]:  # noqa: ARG002
        """See `genrescope.inference.ray_engine.Pipeline`."""
        cache = FeatureCache()
        content = cache.content(source)
        sha256 = np.frombuffer(bytes.fromhex(content), np.uint8)
        for number, window in enumerate(self.frontend.windows(source)):
            yield Piece(packed_window(number, window), sha256, np.zeros(0))
        if cache.content(source) != content:
            raise UnreadableError(source, "changed while it was read")

    def run(self, values: Array) -> list[Array]:
        """See `genrescope.inference.ray_engine.Pipeline`."""
        return [values]

    def result(
        self, _source: str, _info: StreamInfo, outputs: list[list[Array]], /
    ) -> tuple[str, Array]:
        """SHA-256 of the file, and all of its windows."""
        return outputs[0][0].tobytes().hex(), np.concatenate([own[2] for own in outputs], axis=1)
