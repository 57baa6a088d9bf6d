"""A plugin for beets that sets genres predicted by Genrescope.

It never replaces a genre unless `force` is on, and sets none whose probability is less than
`min_confidence`. An album's genre is that of its tracks' mean probabilities, where more than half
of them could be classified.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from optparse import Values
from typing import TYPE_CHECKING, Any

from beets import ui
from beets.library import Album, Item, Library
from beets.plugins import BeetsPlugin
from beets.util import displayable_path, syspath

from genrescope.errors import FileError, GenrescopeError
from genrescope.inference import Classifier, Prediction
from genrescope.library.tags import genre_name

if TYPE_CHECKING:
    from beets.importer import ImportSession, ImportTask

# In newer versions a track has a list of genres; in older ones it had one text.
_FIELD = "genres" if "genres" in Item._fields else "genre"


class GenrescopePlugin(BeetsPlugin):  # type: ignore[misc]  # beets has no type hints
    """`beet genrescope`, and the same at every import where `auto` is on."""

    def __init__(self) -> None:
        super().__init__()
        self.config.add(
            {
                "auto": True,
                "model": "default",
                "min_confidence": 0.5,
                "count": 1,
                "force": False,
            }
        )
        self._classifier: Classifier | None = None
        self._set_at_import: set[int | None] = set()  # items whose files may have to be written
        if self.config["auto"].get(bool):
            self.import_stages = [self._import]
            self.register_listener("import_task_files", self._imported)

    def commands(self) -> list[ui.Subcommand]:
        command = ui.Subcommand("genrescope", help="set the genre predicted from the audio")
        command.parser.add_option(
            "-f", "--force", action="store_true", help="replace genres that are there"
        )
        command.parser.add_option(
            "-p", "--pretend", action="store_true", help="show what would be set; change nothing"
        )
        command.parser.add_option(
            "-w", "--write", action="store_true", default=None, help="write the files' tags too"
        )
        command.parser.add_option(
            "-W", "--nowrite", action="store_false", dest="write", help="leave the files alone"
        )
        command.func = self._command
        return [command]

    def _command(self, library: Library, options: Values, words: list[str]) -> None:
        force = bool(options.force) or self.config["force"].get(bool)
        changed = self._classify(library.items(words), force, bool(options.pretend))
        if not options.pretend:
            write = ui.should_write(options.write)
            for item in changed:
                item.store()
                if write:
                    item.try_write()

    def _import(self, _session: ImportSession, task: ImportTask) -> None:
        for item in self._classify(task.imported_items(), self.config["force"].get(bool), False):
            item.store()
            self._set_at_import.add(item.id)

    def _imported(self, session: ImportSession, task: ImportTask) -> None:  # noqa: ARG002
        """Write the files' tags once they are in their place, where the importer wrote none."""
        for item in task.imported_items():
            if item.id in self._set_at_import and not task.apply and ui.should_write():
                item.try_write()
            self._set_at_import.discard(item.id)

    def _classify(self, items: Iterable[Item], force: bool, pretend: bool) -> list[Item]:
        """Give items, and the albums they belong to, their genres; return those that got one.

        Albums are stored, items are not.
        """
        todo = [item for item in items if force or not item.get(_FIELD)]
        predictions: list[tuple[Item, Prediction]] = []
        changed: list[Item] = []
        files = (os.fsdecode(syspath(item.path)) for item in todo)
        results = self._loaded().predict_many(files)
        for item, result in zip(todo, results, strict=True):
            name = displayable_path(item.path)
            if isinstance(result, FileError):
                self._log.warning("{}: {}", name, result.reason)
                continue
            if result.genre is None:
                self._log.warning("{}: only silence, or no music", name)
                continue
            predictions.append((item, result))
            genres = self._confident(dict(result.tag_values(self.config["count"].get(int))))
            prediction = f"{result.genre} {result.confidence:.0%}"
            if not genres:
                self._log.info("{}: not confident enough ({})", name, prediction)
                continue
            if pretend:
                ui.print_(f"{name}: {', '.join(genres)} ({prediction})")
            else:
                self._log.info("{}: {} ({})", name, ", ".join(genres), prediction)
            item[_FIELD] = _as_field(genres)
            changed.append(item)
        if not pretend:
            self._set_albums(predictions, force)
        return changed

    def _set_albums(self, predictions: Sequence[tuple[Item, Prediction]], force: bool) -> None:
        albums: dict[int, Album] = {}
        tracks: defaultdict[int, list[Prediction]] = defaultdict(list)
        for item, prediction in predictions:
            album = item.get_album()
            if album is not None and album.id and (force or not album.get(_FIELD)):
                albums[album.id] = album
                tracks[album.id].append(prediction)
        for number, album in albums.items():
            if 2 * len(tracks[number]) <= len(album.items()):
                continue
            of = [prediction.probabilities for prediction in tracks[number]]
            mean = {genre: sum(each[genre] for each in of) / len(of) for genre in of[0]}
            genres = self._confident(mean)
            if genres:
                album[_FIELD] = _as_field(genres)
                album.store(inherit=False)  # its tracks keep their own

    def _confident(self, probabilities: dict[str, float]) -> list[str]:
        """The most probable genres as written in tags, of at least the least confidence."""
        least = self.config["min_confidence"].as_number()
        order = sorted(probabilities, key=lambda genre: -probabilities[genre])
        count = self.config["count"].get(int)
        return [genre_name(genre) for genre in order[:count] if probabilities[genre] >= least]

    def _loaded(self) -> Classifier:
        if self._classifier is None:
            try:
                self._classifier = Classifier.load(self.config["model"].as_str())
            except GenrescopeError as error:
                raise ui.UserError(f"genrescope: {error}") from None
        return self._classifier


def _as_field(genres: list[str]) -> Any:
    return genres if _FIELD == "genres" else ", ".join(genres)
