"""Features by their kind: the table of those built in, and entry points of other packages.

Another package adds a feature by an entry point of the group `genrescope.features` whose name is
the kind and whose value is a class derived from `genrescope.features.Feature`.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from genrescope.errors import RecipeError
from genrescope.features.base import Feature
from genrescope.registry import Registry, did_you_mean

_BUILTIN = {
    "descriptors": "genrescope.features.descriptors:Descriptors",
    "efficientat_mel": "genrescope.features.network_mel:NetworkMel",
    "geometric_mel": "genrescope.features.mel:GeometricMel",
    "image": "genrescope.features.image:Image",
    "log_mel": "genrescope.features.mel:LogMel",
    "mel": "genrescope.features.mel:Mel",
    "mfcc": "genrescope.features.mfcc:MFCC",
    "musicnn_mel": "genrescope.features.network_mel:NetworkMel",
    "sampled_mel": "genrescope.features.sampled_mel:SampledMel",
    "stored": "genrescope.features.stored:Stored",
    "vggish_mel": "genrescope.features.network_mel:NetworkMel",
    "waveform": "genrescope.features.waveform:WaveformFrames",
}

FEATURES = Registry("feature", "genrescope.features", _BUILTIN)


def feature_kinds() -> list[str]:
    """Names of the features there are."""
    return FEATURES.names()


def make_feature(settings: dict[str, Any]) -> Feature:
    """Build a feature from settings as a recipe or a bundle writes them.

    Raises
    ------
    RecipeError
        When the kind is unknown or a setting is not valid.
    """
    kind = settings.get("kind")
    if not isinstance(kind, str):
        raise RecipeError(f"feature: no kind given; there are: {', '.join(feature_kinds())}")
    feature: type[Feature] = FEATURES.get(kind)
    try:
        return feature(**settings)
    except ValidationError as error:
        problems = []
        for each in error.errors():
            where = ".".join([f"feature {kind}", *map(str, each["loc"])])
            message = each["msg"].removeprefix("Value error, ")
            if each["type"] == "extra_forbidden":
                hint = did_you_mean(each["loc"][-1], feature.model_fields)
                message = f"there is no such setting{hint}"
            problems.append(f"{where}: {message}")
        raise RecipeError("; ".join(problems)) from None
