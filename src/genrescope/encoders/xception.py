"""Xception of Keras, trained on ImageNet, applied to spectrograms.

Chollet, "Xception: deep learning with depthwise separable convolutions" (CVPR 2017).
"""

from __future__ import annotations

from typing import ClassVar

from genrescope.encoders import _imagenet
from genrescope.encoders.weights import Weights

NOTOP = Weights(
    file="xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
    url=f"{_imagenet.KERAS}/xception/xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
    sha256="",
    size=83_683_744,
    licence="MIT",
    about="Xception without its classifier, ImageNet, as Keras publishes it",
)


class Encoder(_imagenet.KerasPictures):
    """Xception: 2048 numbers for a picture of 10 s of audio."""

    name = "xception"
    layers: ClassVar = {"none": 299 * 299, "immediate": 2048}
    weights = (NOTOP,)
    application = "Xception"
    md5 = "b0042744bf5b25fce3cb969f33bebb97"
    side = 299
