"""Published weights of the encoders whose modules import torch, for those who only list them."""

from __future__ import annotations

from genrescope.encoders.weights import Weights

RELEASE = "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1"
KERAS = "https://storage.googleapis.com/tensorflow/keras-applications"

MN04 = Weights(
    file="mn04_as_mAP_432.pt",
    url=f"{RELEASE}/mn04_as_mAP_432.pt",
    sha256="899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c",
    size=4_066_513,
    licence="MIT",
    about="EfficientAT, width 0.4, AudioSet, mean average precision 0.432",
)

MN10 = Weights(
    file="mn10_as_mAP_471.pt",
    url=f"{RELEASE}/mn10_as_mAP_471.pt",
    sha256="0bd7dc2443af498c289a2e739f02ebb515d6aa3fd3ab9db539c86123ae368a4e",
    size=19_708_753,
    licence="MIT",
    about="EfficientAT, width 1, AudioSet, mean average precision 0.471",
)

MERT = Weights(
    file="mert-v1-95m.bin",
    url="https://huggingface.co/m-a-p/MERT-v1-95M/resolve/12af15fef9d0ac838c3f475bfbbf26d2060dd4f5"
    "/pytorch_model.bin",
    sha256="a2b8b747f72c06e0595aeae41ae5473f4364938c6b39b2c58be38c48e6bd3fcd",
    size=377_552_987,
    licence="CC-BY-NC-4.0",
    about="MERT-v1-95M, the authors' checkpoint for transformers; not for commercial use",
)

MOBILENET_V2 = Weights(
    file="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    url=f"{KERAS}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    sha256="",
    size=9_406_464,
    licence="Apache-2.0",
    about="MobileNetV2 without its classifier, ImageNet, as Keras publishes it",
)

VGG16 = Weights(
    file="vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    url=f"{KERAS}/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    sha256="bfe5187d0a272bed55ba430631598124cff8e880b98d38c9e56c8d66032abdc1",
    size=58_889_256,
    licence="CC-BY-4.0",
    about="VGG16 without its classifier, ImageNet, as Keras publishes it",
)

INCEPTION_V3 = Weights(
    file="inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    url=f"{KERAS}/inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    sha256="",
    size=87_910_968,
    licence="Apache-2.0",
    about="InceptionV3 without its classifier, ImageNet, as Keras publishes it",
)

XCEPTION = Weights(
    file="xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
    url=f"{KERAS}/xception/xception_weights_tf_dim_ordering_tf_kernels_notop.h5",
    sha256="",
    size=83_683_744,
    licence="MIT",
    about="Xception without its classifier, ImageNet, as Keras publishes it",
)

PUBLISHED: dict[str, tuple[Weights, ...]] = {
    "efficientat": (MN04,),
    "efficientat_mn10": (MN10,),
    "inception_v3": (INCEPTION_V3,),
    "mert": (MERT,),
    "mobilenet_v2": (MOBILENET_V2,),
    "vgg16": (VGG16,),
    "xception": (XCEPTION,),
}
"""By the encoder's name."""
