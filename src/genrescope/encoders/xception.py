"""Xception of Keras, trained on ImageNet, applied to spectrograms.

Chollet, "Xception: deep learning with depthwise separable convolutions" (CVPR 2017).
"""

from __future__ import annotations

from typing import ClassVar

from genrescope.encoders import _imagenet
from genrescope.encoders.published import XCEPTION as NOTOP


class Encoder(_imagenet.KerasPictures):
    """Xception: 2048 numbers for a picture of 10 s of audio."""

    name = "xception"
    layers: ClassVar = {"none": 299 * 299, "immediate": 2048}
    weights = (NOTOP,)
    application = "Xception"
    md5 = "b0042744bf5b25fce3cb969f33bebb97"
    side = 299
