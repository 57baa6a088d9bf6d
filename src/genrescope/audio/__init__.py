"""From an audio file to mono float32 samples.

`load` decodes a file, or a part of it, to a `Waveform`; `stream` yields the same samples in
blocks, so that a file of any length fits in memory; `info` reads the header alone. All of them
take a path, bytes or a file object, and raise `AudioError` and nothing else for whatever is wrong
with it. Within `safely` they decode in processes of their own.

Conventions
-----------
Samples are float32 of shape [n], the mean of the channels, with full scale at ±1 (a file of floats
may exceed it). Times are seconds from the first sample. Rates are in Hz.
"""

from genrescope.audio.decode import AudioInfo, info, load, load_audio, stream
from genrescope.audio.files import Readable, source_name
from genrescope.audio.kinds import AUDIO_SUFFIXES
from genrescope.audio.waveform import Waveform
from genrescope.audio.workers import safely
from genrescope.errors import AudioError

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
