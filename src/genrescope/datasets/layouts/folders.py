"""Any music in genre folders: `FOLDER/<genre>/…/<file>`, audio or stored spectrograms."""

from __future__ import annotations

from pathlib import Path

from genrescope.datasets.dataset import Dataset
from genrescope.datasets.layout import About, Layout
from genrescope.datasets.walk import genre_tree


class Folders(Layout):
    """A folder of genre folders."""

    about = About(
        title="Folder of genre folders",
        description="Music of your own: each folder's name is the genre of all music in it, at any "
        "depth.",
        files="FOLDER/<genre>/…/<file>: audio, or stored spectrograms (8-bit grey PNG)",
    )
    generic = True

    def detect(self, path: Path) -> bool:
        """Any folder."""
        return path.is_dir()

    def read(self, path: Path) -> Dataset:
        """List the music of each folder; hidden files and folders are ignored."""
        tree = genre_tree(path)
        name = path.resolve().name
        return Dataset(name, "folders", tree.tracks(), tree.left_out, tree.content, tree.notes)


LAYOUT = Folders()
