"""From a music file to mono float32 samples.

`load` reads a file, or a part of it, into a `Waveform`; `stream` gives the same samples
in blocks, so that a file of any length fits in memory; `info` looks at the header alone.
Whatever is wrong with a file, they raise `AudioError` and nothing else.

Conventions
-----------
Samples are float32 of shape [n], the mean of the channels, with full scale at ±1 (a file of
floats may go beyond). Times are seconds from the first sample. Rates are in Hz.
"""

from genrescope.audio.decode import AudioInfo, info, load, stream
from genrescope.audio.kinds import AUDIO_SUFFIXES
from genrescope.audio.waveform import Waveform
from genrescope.errors import AudioError

__all__ = ["AUDIO_SUFFIXES", "AudioError", "AudioInfo", "Waveform", "info", "load", "stream"]
