"""From a waveform or a stored spectrogram to arrays: one implementation for training and use."""

from genrescope.features.base import FeatureSettings, feature_kinds, make_feature, standardise
from genrescope.features.frontend import (
    Frontend,
    Segment,
    SegmentSettings,
    Source,
    StreamInfo,
    Window,
)
from genrescope.features.spectrogram import (
    Spectrogram,
    is_stored_spectrogram,
    load_spectrogram,
    power_spectrogram,
)

__all__ = [
    "FeatureSettings",
    "Frontend",
    "Segment",
    "SegmentSettings",
    "Source",
    "Spectrogram",
    "StreamInfo",
    "Window",
    "feature_kinds",
    "is_stored_spectrogram",
    "load_spectrogram",
    "make_feature",
    "power_spectrogram",
    "standardise",
]
