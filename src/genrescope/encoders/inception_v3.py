"""InceptionV3 of Keras, trained on ImageNet, applied to spectrograms.

Szegedy et al., "Rethinking the Inception architecture for computer vision" (CVPR 2016).
"""

from __future__ import annotations

from typing import ClassVar

from genrescope.encoders import _imagenet
from genrescope.encoders.published import INCEPTION_V3 as NOTOP


class Encoder(_imagenet.KerasPictures):
    """InceptionV3: 2048 numbers for a picture of 10 s of audio."""

    name = "inception_v3"
    layers: ClassVar = {"none": 299 * 299, "immediate": 2048}
    weights = (NOTOP,)
    application = "InceptionV3"
    md5 = "bcbd6486424b2319ff4ef7d526e38f63"
    side = 299
