"""Training and test data of a run: tracks as features, computed once, cached on disk.

Conventions
-----------
A track's features are its windows (`genrescope.features.Window`), and its embeddings where the
recipe's feature is an embedding. Models are trained either on *frames* cut at random from
`[size, frames]`, or on *segments* `[segments, size, frames]`, those that a user's prediction uses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrescope import audio
from genrescope.audio.augment import gain, noise, semitones
from genrescope.datasets import Track, group_tracks
from genrescope.errors import DatasetError, FileError, UnreadableError
from genrescope.features import Frontend, Source, Window, is_stored_spectrogram
from genrescope.features.cache import FeatureCache
from genrescope.inference import Bundle
from genrescope.training.distillation import Targets
from genrescope.training.embeddings import Embedder
from genrescope.training.recipe import Recipe
from genrescope.training.reporter import Reporter
from genrescope.training.settings import BundleSettings, EmbeddingSettings, WaveformAugmentation

FloatArray = NDArray[np.float32]
Windows = list[Window]


@dataclass(frozen=True)
class TrackFeatures:
    """The features of a track, or of a changed copy of it.

    Attributes
    ----------
    windows
        In time order.
    embeddings
        float32 `[segments, size, frames]`, where the recipe's feature is an embedding.
    """

    windows: Windows
    embeddings: FloatArray | None = None

    def segments(self, frontend: Frontend) -> FloatArray:
        """All segments as the model sees them, `[segments, size, frames]`."""
        if self.embeddings is not None:
            return self.embeddings
        values = [s.values for window in self.windows for s in frontend.segments_of(window)]
        return np.stack(values) if values else np.zeros((0, *frontend.shape), np.float32)

    def frames(self, frontend: Frontend) -> FloatArray:
        """All frames once, `[size, frames]`; pooled segments and embeddings side by side."""
        if self.embeddings is not None or frontend.pool:
            segments = list(self.segments(frontend))
            return np.concatenate(segments, axis=1) if segments else np.zeros((0, 0), np.float32)
        parts = [window.values[:, window.fresh :] for window in self.windows]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class TrainingData:
    """Everything that the jobs of a run are given.

    Attributes
    ----------
    frontend
        The front end that computed the features.
    tracks
        Those that can be used, by id, in the data set's order.
    genres
        Sorted; a label is an index into them.
    groups
        Group of each track id; tracks of one group are in one subset, and are drawn together in
        the bootstrap.
    features
        By track id.
    shape
        Shape of a segment as the model sees it: `(size, frames)`.
    encoder
        ONNX graph of the encoder that computed the embeddings; None for other features.
    copies
        Changed copies of training tracks, by track id.
    targets
        A teacher's targets `[n, targets]` by track id; not only of training tracks.
    further
        Frames `[size, frames]` and label of each track of each further data set, see
        `genrescope.training.further`; the label of a track without a genre is -1.
    left_out
        Reasons by the ids of tracks that can't be used.
    """

    frontend: Frontend
    tracks: Mapping[str, Track]
    genres: tuple[str, ...]
    groups: Mapping[str, str]
    features: Mapping[str, TrackFeatures]
    shape: tuple[int, int]
    encoder: bytes | None = None
    copies: Mapping[str, tuple[TrackFeatures, ...]] = field(default_factory=dict)
    targets: Mapping[str, FloatArray] = field(default_factory=dict)
    further: tuple[tuple[tuple[FloatArray, int], ...], ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def label(self, track: str) -> int:
        """The index of a track's genre."""
        return self.genres.index(self.tracks[track].genre)

    def frames(self, track: str) -> FloatArray:
        """All frames of a track once, `[size, frames]`."""
        return self.features[track].frames(self.frontend)

    def segments(self, track: str) -> FloatArray:
        """All segments of a track as the model sees them, `[segments, size, frames]`."""
        return self.features[track].segments(self.frontend)

    def with_copies(self, recipe: Recipe, train: Iterable[str]) -> TrainingData:
        """Add the changed copies of training tracks that the recipe asks for.

        Raises
        ------
        FileError
            When a track can't be decoded.
        """
        settings = recipe.augmentation.waveform
        if settings is None or self.encoder is not None:
            return self
        copies = {
            track: tuple(changed_copies(self.frontend, self.tracks[track], settings, recipe.seed))
            for track in dict.fromkeys(train)
        }
        return replace(self, copies=copies)


def load(
    recipe: Recipe,
    tracks: Sequence[Track],
    *,
    vectors: Mapping[str, FloatArray],
    targets: Targets,
    reporter: Reporter,
    cache: FeatureCache | None = None,
) -> TrainingData:
    """Read the tracks as a recipe's features.

    Parameters
    ----------
    recipe
        Feature, encoder and split.
    tracks
        The data set.
    vectors
        Stored vectors `[frames, size]` by track id, for features of the kind "stored".
    targets
        A teacher's targets by track id; empty without one.
    reporter
        Told of progress and of tracks that are left out.
    cache
        Cache of the features; by default the one in the user's cache folder.

    Raises
    ------
    DatasetError
        When the tracks that can be used are of fewer than two genres, or the split is by artist
        and no artist is known.
    UnreadableError
        When the disk does not give a file this time: the same command may succeed later.
    """
    genres_of(tracks)
    windows, left_out = read_windows(recipe.frontend, tracks, vectors, reporter, cache)
    usable = [track for track in tracks if track.id in windows]
    if not usable:
        raise DatasetError("none of the tracks can be used")
    genres = genres_of(usable)
    features = {track.id: TrackFeatures(windows[track.id]) for track in usable}
    shape, encoder = recipe.frontend.shape, None
    if recipe.embedding:
        embedder = _embedder(recipe, recipe.embedding)
        shape, encoder = embedder.shape, embedder.graph
        embedded = embedder.embed(
            usable,
            [windows[track.id] for track in usable],
            lambda done: reporter.embeddings(done, len(usable)),
        )
        features = {
            track.id: TrackFeatures(windows[track.id], values)
            for track, values in zip(usable, embedded, strict=True)
        }
    if recipe.split.kind == "by_segment":
        pieces = [
            piece
            for track in usable
            for piece in _segments_as_tracks(recipe.frontend, track, features[track.id])
        ]
        usable, features = [piece for piece, _ in pieces], {p.id: own for p, own in pieces}
    return TrainingData(
        frontend=recipe.frontend,
        tracks={track.id: track for track in usable},
        genres=genres,
        groups=group_tracks(usable, by_artist=recipe.split.by_artist),
        features=features,
        shape=shape,
        encoder=encoder,
        targets=targets,
        left_out=left_out,
    )


def _embedder(recipe: Recipe, settings: EmbeddingSettings | BundleSettings) -> Embedder:
    if isinstance(settings, BundleSettings):
        from genrescope.training.bundle_embeddings import bundle_embedder

        return bundle_embedder(Bundle.load(settings.bundle))
    from genrescope.training.pretrained import pretrained_embedder

    return pretrained_embedder(settings, recipe.frontend, recipe.weights)


def genres_of(tracks: Iterable[Track]) -> tuple[str, ...]:
    """Return the genres of tracks, sorted.

    Raises
    ------
    DatasetError
        When there is only one, or the name of one is not a line of text, as no bundle can have it.
    """
    genres = tuple(sorted({track.genre for track in tracks}))
    for genre in genres:
        if not genre.strip():
            raise DatasetError(f"genre {genre!r}: expected a name; rename it")
        if odd := [each for each in genre if not each.isprintable()]:
            what = f"has a character that can't be shown (U+{ord(odd[0]):04X})"
            raise DatasetError(f"genre {genre!r}: {what}; rename it")
    if len(genres) < 2:
        raise DatasetError(f"all tracks are of one genre ({', '.join(genres)}): expected several")
    return genres


def describe(
    tracks: Sequence[Track], name: str = "", vectors: Mapping[str, FloatArray] | None = None
) -> dict[str, Any]:
    """Describe a data set without where it lies on this machine."""
    content = hashlib.sha256()
    listing = "".join(
        f"{t.id} {t.genre} {t.artist} {t.path.stat().st_size if t.path.is_file() else 0}\n"
        for t in tracks
    )
    content.update(listing.encode("utf-8", "surrogateescape"))
    for track in tracks:
        content.update((vectors or {}).get(track.id, np.zeros(0)).tobytes())
    return {
        "name": name or tracks[0].path.parent.parent.name,
        "tracks": len(tracks),
        "with_artist": sum(track.artist is not None for track in tracks),
        "fingerprint": content.hexdigest()[:16],
    }


def changed_copies(
    frontend: Frontend, track: Track, settings: WaveformAugmentation, seed: int
) -> Iterator[TrackFeatures]:
    """Compute the features of a track at another level, at another pitch, and with noise.

    Each stretch of a track as long as a segment has its own level, pitch or noise. What is stored,
    a spectrogram or vectors, can't be changed as a waveform: it has no copies.

    Raises
    ------
    FileError
        When the track can't be decoded.
    """
    if frontend.computed.kind == "stored" or is_stored_spectrogram(track.path):
        return
    random = np.random.default_rng([seed, *track.id.encode("utf-8", "surrogateescape")])
    clean = audio.load(track.path, sample_rate=frontend.computed.sample_rate)
    changes: list[Callable[[audio.Waveform], audio.Waveform]] = [
        lambda part: gain(part, random.uniform(-settings.gain, settings.gain)),
        lambda part: semitones(part, random.uniform(-settings.semitones, settings.semitones)),
        lambda part: noise(part, settings.snr, random),
    ]
    length = frontend.segment_frames * frontend.computed.hop_length
    for change in changes:
        copy = _changed(clean, change, length)
        windows = list(frontend.windows(copy))
        # A softer copy can fall below the level of digital silence.
        if any(map(frontend.cuts, windows)):
            yield TrackFeatures(windows)


def _changed(
    waveform: audio.Waveform, change: Callable[[audio.Waveform], audio.Waveform], length: int
) -> audio.Waveform:
    """Change each stretch of `length` samples by itself; a shorter rest joins the last one."""
    count = max(1, len(waveform.samples) // length)
    parts = np.split(waveform.samples, [length * number for number in range(1, count)])
    rate = waveform.sample_rate
    changed = [change(audio.Waveform(part, rate)).samples for part in parts]
    return audio.Waveform(np.concatenate(changed), rate)


def read_windows(
    frontend: Frontend,
    tracks: Sequence[Track],
    vectors: Mapping[str, FloatArray],
    reporter: Reporter,
    cache: FeatureCache | None = None,
) -> tuple[dict[str, Windows], dict[str, str]]:
    """Compute or read the windows of each track; reasons for those that can't be used."""
    cache, settings = cache or FeatureCache(), frontend.model_dump_json()

    def read(track: Track) -> Windows | FileError:
        try:
            if frontend.computed.kind == "stored":
                if track.id not in vectors:
                    raise FileError(track.id, "no vectors are stored for it")
                return list(frontend.windows(vectors[track.id]))
            return _unpacked(_cached(cache, track, settings, frontend.windows))
        except UnreadableError:
            raise  # a run of fewer tracks is not the one that was asked for
        except FileError as error:
            return error

    found: dict[str, Windows] = {}
    left_out: dict[str, str] = {}
    with ThreadPoolExecutor() as pool:
        for done, (track, windows) in enumerate(
            zip(tracks, pool.map(read, tracks), strict=True), 1
        ):
            if isinstance(windows, FileError):
                left_out[track.id] = windows.reason
            elif not any(map(frontend.cuts, windows)):
                left_out[track.id] = "digital silence"
            else:
                found[track.id] = windows
            if track.id in left_out:
                reporter.left_out(track.id, left_out[track.id])
            reporter.features(done, len(tracks))
    return found, left_out


def _cached(
    cache: FeatureCache, track: Track, settings: str, compute: Callable[[Source], Iterator[Window]]
) -> FloatArray:
    return cache.get_or_compute(track.path, settings, lambda: _packed(list(compute(track.path))))


def _segments_as_tracks(
    frontend: Frontend, track: Track, features: TrackFeatures
) -> Iterator[tuple[Track, TrackFeatures]]:
    """Treat each segment as a track, which is the mistake that this split is there to show."""
    cuts = [cut for window in features.windows for cut in frontend.cuts(window)]
    for number, cut in enumerate(cuts):
        own = features.embeddings
        own = None if own is None else own[number : number + 1]
        # No segment repeats another here.
        piece = replace(track, id=f"{track.id}#{number:02d}", recording=None)
        yield piece, TrackFeatures([cut], own)


def _packed(windows: Windows) -> FloatArray:
    """Windows as one array, as it is kept in the cache."""
    parts = [packed_window(number, window) for number, window in enumerate(windows)]
    return np.concatenate(parts, axis=1)


def packed_window(number: int, window: Window) -> FloatArray:
    """A window's values, then rows for its number, start, silence and freshness."""
    count = window.values.shape[1]
    rows = [
        window.values,
        np.full(count, number),
        np.full(count, window.start),
        window.silent,
        np.arange(count) >= window.fresh,
    ]
    return np.vstack(rows).astype(np.float32)


def _unpacked(packed: FloatArray) -> Windows:
    windows = []
    for number in np.unique(packed[-4]):
        part = packed[:, packed[-4] == number]
        windows.append(
            Window(
                np.ascontiguousarray(part[:-4]),
                part[-2].astype(bool),
                float(part[-3, 0]),
                int((part[-1] == 0).sum()),
            )
        )
    return windows
