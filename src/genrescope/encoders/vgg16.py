"""VGG16 of Keras, trained on ImageNet, applied to spectrograms.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition"
(ICLR 2015).
"""

from __future__ import annotations

from typing import ClassVar

from genrescope.encoders import _imagenet
from genrescope.encoders.published import VGG16 as NOTOP


class Encoder(_imagenet.KerasPictures):
    """VGG16: 512 numbers for a picture of 10 s of audio."""

    name = "vgg16"
    layers: ClassVar = {"none": 224 * 224, "immediate": 512}
    weights = (NOTOP,)
    application = "VGG16"
    md5 = "6d6bbae143d832006294945121d1f1fc"
    side = 224
    levels = _imagenet.CAFFE
