"""VGG16 of Keras, trained on ImageNet, applied to spectrograms.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition"
(ICLR 2015).
"""

from __future__ import annotations

from typing import ClassVar

from genrescope.encoders import _imagenet
from genrescope.encoders.weights import Weights

NOTOP = Weights(
    file="vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    url=f"{_imagenet.KERAS}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    sha256="bfe5187d0a272bed55ba430631598124cff8e880b98d38c9e56c8d66032abdc1",
    size=58_889_256,
    licence="CC-BY-4.0",
    about="VGG16 without its classifier, ImageNet, as Keras publishes it",
)


class Encoder(_imagenet.KerasPictures):
    """VGG16: 512 numbers for a picture of 10 s of audio."""

    name = "vgg16"
    layers: ClassVar = {"none": 224 * 224, "immediate": 512}
    weights = (NOTOP,)
    application = "VGG16"
    md5 = "6d6bbae143d832006294945121d1f1fc"
    side = 224
    levels = _imagenet.CAFFE
