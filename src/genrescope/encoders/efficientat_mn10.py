"""EfficientAT mn10: the same network as `efficientat`, two and a half times as wide."""

from __future__ import annotations

from typing import ClassVar

from genrescope.encoders import efficientat
from genrescope.encoders.weights import Weights

MN10 = Weights(
    file="mn10_as_mAP_471.pt",
    url=f"{efficientat.RELEASE}/mn10_as_mAP_471.pt",
    sha256="0bd7dc2443af498c289a2e739f02ebb515d6aa3fd3ab9db539c86123ae368a4e",
    size=19_708_753,
    licence="MIT",
    about="EfficientAT, width 1, AudioSet, mean average precision 0.471",
)


class Encoder(efficientat.Encoder):
    """EfficientAT: 960 numbers for 10 s of audio, or the logits of AudioSet's 527 classes."""

    name = "efficientat_mn10"
    layers: ClassVar = {"embedding": 960, "logits": efficientat.CLASSES}
    weights: ClassVar = (MN10,)
    width: ClassVar[float] = 1.0
