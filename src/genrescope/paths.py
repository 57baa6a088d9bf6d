"""Folders of the user's that Genrescope keeps things in, by each system's own conventions.

On Linux these are the XDG folders: `$XDG_CACHE_HOME/genrescope` (features, embeddings, weights and
graphs; may be deleted), `$XDG_DATA_HOME/genrescope` (libraries) and `$XDG_CONFIG_HOME/genrescope`
(settings), or `~/.cache`, `~/.local/share` and `~/.config`. macOS and Windows have their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

_APP = "genrescope"


def cache_folder(*parts: str) -> Path:
    """A folder for what can be computed or downloaded again; nothing is created."""
    return _folder(platformdirs.user_cache_path, ".cache").joinpath(*parts)


def data_folder(*parts: str) -> Path:
    """A folder for what the user would miss; nothing is created."""
    return _folder(platformdirs.user_data_path, ".local/share").joinpath(*parts)


def config_folder(*parts: str) -> Path:
    """A folder for settings; nothing is created."""
    return _folder(platformdirs.user_config_path, ".config").joinpath(*parts)


def _folder(find: Callable[..., Path], default: str) -> Path:
    """The system's folder; below `os.devnull`, where nothing can be kept, without a home."""
    try:
        folder = find(_APP, appauthor=False)
        # The XDG specification wants a relative path in the environment to be ignored.
        return folder if folder.is_absolute() else Path.home() / default / _APP
    except RuntimeError:  # a user without a home, as in some containers
        return Path(os.devnull) / _APP
