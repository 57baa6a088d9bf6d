"""From an audio file to mono float32 samples.

`load` decodes a file, or a part of it, to a `Waveform`; `stream` yields the same samples in
blocks, so that a file of any length can be read in constant memory; `info` reads only the header.
All of them take a path, bytes or a file object, and raise `AudioError` for anything that is wrong
with it. Within `safely` they decode in separate processes.

Conventions
-----------
Samples are float32 of shape [n], the mean of the channels, with full scale at ±1 (a file of floats
may exceed it). Times are seconds from the first sample. Rates are in Hz.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genrescope.audio.decode import AudioInfo, info, load, load_audio, stream
    from genrescope.audio.files import Readable, source_name
    from genrescope.audio.kinds import AUDIO_SUFFIXES
    from genrescope.audio.waveform import Waveform
    from genrescope.audio.workers import safely
    from genrescope.errors import AudioError

_HOME = {
    **dict.fromkeys(("AudioInfo", "info", "load", "load_audio", "stream"), "audio.decode"),
    **dict.fromkeys(("Readable", "source_name"), "audio.files"),
    "AUDIO_SUFFIXES": "audio.kinds",
    "Waveform": "audio.waveform",
    "safely": "audio.workers",
    "AudioError": "errors",
}
__all__ = [
    "AUDIO_SUFFIXES",
    "AudioError",
    "AudioInfo",
    "Readable",
    "Waveform",
    "info",
    "load",
    "load_audio",
    "safely",
    "source_name",
    "stream",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: starting a decoder must not wait for NumPy."""
    if name not in _HOME:
        raise AttributeError(f"module 'genrescope.audio' has no attribute {name!r}")
    value = getattr(import_module(f"genrescope.{_HOME[name]}"), name)
    return globals().setdefault(name, value)


def __dir__() -> list[str]:
    """List the names that are imported on demand, too, for tab completion."""
    return sorted({*globals(), *__all__})
