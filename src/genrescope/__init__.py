"""Genrescope classifies music by genre.

Everything named in `__all__` is imported when it is first used, so that `import genrescope` stays
cheap.

Examples
--------
>>> import genrescope
>>> classifier = genrescope.load()
>>> classifier.genres[:3]
['blues', 'classical', 'country']
>>> classifier.predict("walking-bass.flac").duration
12.0
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from genrescope.errors import (
    AudioError,
    BundleError,
    CancelledError,
    DatasetError,
    FileError,
    GenrescopeError,
    RecipeError,
    UnknownNameError,
)

# From 1.29 on ONNX Runtime keeps an identifier of the machine in the user's cache folder and
# reports to its makers. It reads this variable once, when it is imported; a user's own choice
# stands.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from genrescope.audio import Waveform, load_audio
    from genrescope.evaluation.evaluate import evaluate
    from genrescope.evaluation.run_result import RunResult
    from genrescope.evaluation.significance import Comparison, compare
    from genrescope.inference import (
        Bundle,
        Classifier,
        Manifest,
        Prediction,
        Section,
        SegmentPrediction,
        SoundLabels,
        load,
        to_frame,
    )

__version__ = "0.2.0.dev0"
__all__ = [
    "AudioError",
    "Bundle",
    "BundleError",
    "CancelledError",
    "Classifier",
    "Comparison",
    "DatasetError",
    "FileError",
    "GenrescopeError",
    "Manifest",
    "Prediction",
    "RecipeError",
    "RunResult",
    "Section",
    "SegmentPrediction",
    "SoundLabels",
    "UnknownNameError",
    "Waveform",
    "compare",
    "evaluate",
    "load",
    "load_audio",
    "to_frame",
]

_HOME = {
    "Bundle": "genrescope.inference",
    "Classifier": "genrescope.inference",
    "Comparison": "genrescope.evaluation.significance",
    "Manifest": "genrescope.inference",
    "Prediction": "genrescope.inference",
    "RunResult": "genrescope.evaluation.run_result",
    "Section": "genrescope.inference",
    "SegmentPrediction": "genrescope.inference",
    "SoundLabels": "genrescope.inference",
    "Waveform": "genrescope.audio",
    "compare": "genrescope.evaluation.significance",
    "evaluate": "genrescope.evaluation.evaluate",
    "load": "genrescope.inference",
    "load_audio": "genrescope.audio",
    "to_frame": "genrescope.inference",
}


def __getattr__(name: str) -> Any:
    """Import the heavier names only when they are asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'genrescope' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """List the names that are imported on demand, too, for tab completion."""
    return sorted({*globals(), *__all__})
