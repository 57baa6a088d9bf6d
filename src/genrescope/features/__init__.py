"""From a waveform or a stored spectrogram to arrays: one implementation for training and use."""

from genrescope.features.base import Feature, SpectrogramFeature, StftFeature, standardise
from genrescope.features.frontend import Frontend, Segment, SegmentSettings
from genrescope.features.registry import feature_kinds, make_feature
from genrescope.features.spectrogram import (
    Spectrogram,
    is_stored_spectrogram,
    load_spectrogram,
    power_spectrogram,
)
from genrescope.features.windows import Source, StreamInfo, Window

__all__ = [
    "Feature",
    "Frontend",
    "Segment",
    "SegmentSettings",
    "Source",
    "Spectrogram",
    "SpectrogramFeature",
    "StftFeature",
    "StreamInfo",
    "Window",
    "feature_kinds",
    "is_stored_spectrogram",
    "load_spectrogram",
    "make_feature",
    "power_spectrogram",
    "standardise",
]
