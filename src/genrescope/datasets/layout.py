"""The interface of a module in `genrescope.datasets.layouts`: one data set, or one layout.

A layout is found by the name of its module. Another package adds layouts by entry points::

    [project.entry-points."genrescope.datasets"]
    my_set = "my_package.my_set:MySet"
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from genrescope.datasets.dataset import Dataset
from genrescope.errors import DatasetError


@dataclass(frozen=True)
class About:
    """Facts about a data set, for `genrescope datasets info` and the data page.

    Attributes
    ----------
    title
        Its usual name.
    description
        What it is, in a sentence or two.
    files
        How its files lie, as a tree of names.
    citation
        The publication to cite; empty where there is none.
    licence
        Licence of music and labels, as far as the makers state one.
    url
        Address of its makers.
    download
        How to get it.
    size
        Size of the archive that its makers publish.
    hashes
        Name of an archive -> its hash as published, such as "sha1:ade1…".
    genres
        Genre -> number of tracks, where the makers fixed them.
    """

    title: str
    description: str
    files: str
    citation: str = ""
    licence: str = ""
    url: str = ""
    download: str = ""
    size: str = ""
    hashes: Mapping[str, str] = field(default_factory=dict)
    genres: Mapping[str, int] = field(default_factory=dict)


class Layout(ABC):
    """One data set: how to recognise it, how to read it, and facts about it.

    Attributes
    ----------
    about
        Facts about it.
    generic
        True for a way to lay out any music, such as a folder of genre folders: it is tried only
        where no named data set is recognised.
    subsets
        Names of the sizes that it is published in, from the smallest.
    repeats
        Ids of tracks that are known to be the same recording; they are kept in one subset of every
        split.
    faults
        Id -> what is known to be wrong with the track.
    """

    about: ClassVar[About]
    generic: ClassVar[bool] = False
    subsets: ClassVar[tuple[str, ...]] = ()
    repeats: ClassVar[tuple[tuple[str, ...], ...]] = ()
    faults: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def detect(self, path: Path) -> bool:
        """Whether an existing file or folder is this data set, by names and tables alone."""

    @abstractmethod
    def read(self, path: Path) -> Dataset:
        """List its tracks, sorted by id.

        Parameters
        ----------
        path
            For which `detect` was true.

        Raises
        ------
        DatasetError
            When a table is not valid, or has no tracks.
        """

    def read_subset(self, path: Path, subset: str) -> Dataset:
        """List the tracks of one of `subsets`, for a data set that has any."""
        raise DatasetError(f"{path}: {self.about.title} has no subset {subset!r}")

    def ids(self, genre: str) -> tuple[str, ...]:  # noqa: ARG002 - for layouts that number tracks
        """Ids of all tracks of a genre, where they follow from a rule; otherwise none."""
        return ()
