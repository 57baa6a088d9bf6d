"""EfficientAT mn10: the same network as `efficientat`, two and a half times as wide."""

from __future__ import annotations

from typing import ClassVar

from genrescope.encoders import efficientat
from genrescope.encoders.published import MN10


class Encoder(efficientat.Encoder):
    """EfficientAT: 960 numbers for 10 s of audio, or the logits of AudioSet's 527 classes."""

    name = "efficientat_mn10"
    layers: ClassVar = {"embedding": 960, "logits": efficientat.CLASSES}
    weights: ClassVar = (MN10,)
    width: ClassVar[float] = 1.0
