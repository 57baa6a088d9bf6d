"""The genres that Genrescope names, in two levels, and what data sets and AudioSet call them.

`taxonomy.yaml` has the genres. Names are compared by `genrescope.genres`, so that "Hip-Hop",
"hip hop" and "hiphop" are one genre.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from genrescope.genres import genre_key

_FILE = Path(__file__).with_name("taxonomy.yaml")


@dataclass(frozen=True)
class Genre:
    """A genre of the first level.

    Attributes
    ----------
    name
        As Genrescope writes it.
    tag
        As it is spelt in a file's tags.
    labels
        The AudioSet labels that are evidence of the genre; the most probable one counts.
    also
        Other spellings.
    datasets
        Data set ("gtzan", "fma", "emotify") to its label for this genre.
    styles
        Genres of the second level, name to AudioSet label.
    """

    name: str
    tag: str
    labels: tuple[str, ...]
    also: tuple[str, ...] = ()
    datasets: Mapping[str, str] = field(default_factory=dict)
    styles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Taxonomy:
    """All that `taxonomy.yaml` says.

    Attributes
    ----------
    genres
        By name, in alphabetical order.
    instruments, moods, uses
        Name to AudioSet label.
    sounds
        What a recording without music is, name to AudioSet labels.
    """

    genres: Mapping[str, Genre]
    instruments: Mapping[str, str]
    moods: Mapping[str, str]
    uses: Mapping[str, str]
    sounds: Mapping[str, tuple[str, ...]]

    def find(self, name: str) -> str | None:
        """The genre of the first level that a name means, or None.

        Styles are found as well: "techno" is "electronic". So are the labels of data sets.

        Examples
        --------
        >>> taxonomy().find("Hip-Hop"), taxonomy().find("Techno"), taxonomy().find("Spoken")
        ('hiphop', 'electronic', None)
        """
        return _spellings().get(genre_key(name))

    def tag(self, name: str) -> str:
        """A genre's or style's name as it is spelt in tags.

        Examples
        --------
        >>> taxonomy().tag("hiphop"), taxonomy().tag("drum and bass"), taxonomy().tag("r&b")
        ('Hip-Hop', 'Drum and Bass', 'R&B')
        """
        if name in self.genres:
            return self.genres[name].tag
        return {"edm": "EDM", "r&b": "R&B"}.get(name) or _titled(name)


@lru_cache(maxsize=1)
def taxonomy() -> Taxonomy:
    """The taxonomy that comes with the package."""
    fields: dict[str, Any] = yaml.safe_load(_FILE.read_text("utf-8"))
    genres = {name: _genre(name, entry) for name, entry in sorted(fields["genres"].items())}
    sounds = {name: tuple(labels) for name, labels in fields["sounds"].items()}
    return Taxonomy(genres, fields["instruments"], fields["moods"], fields["uses"], sounds)


def _genre(name: str, entry: Mapping[str, Any]) -> Genre:
    label = entry["label"]
    return Genre(
        name=name,
        tag=entry.get("tag") or _titled(name),
        labels=(label,) if isinstance(label, str) else tuple(label),
        also=tuple(entry.get("also", ())),
        datasets=entry.get("datasets", {}),
        styles=entry.get("styles", {}),
    )


@lru_cache(maxsize=1)
def _spellings() -> dict[str, str]:
    found: dict[str, str] = {}
    # Names of genres take precedence over their styles' and others' spellings.
    for genre in taxonomy().genres.values():
        found.setdefault(genre_key(genre.name), genre.name)
    for genre in taxonomy().genres.values():
        others = (genre.tag, *genre.labels, *genre.also, *genre.datasets.values())
        for other in (*others, *genre.styles, *genre.styles.values()):
            found.setdefault(genre_key(other), genre.name)
    return found


def _titled(name: str) -> str:
    if name != name.lower():  # spelt by somebody already
        return name
    return " ".join(w if w in ("and", "of") else w.capitalize() for w in name.split())
