"""Pretrained networks as encoders: a segment of audio in, an embedding out.

Encoders know nothing of genres. Each is one module of this package with a class derived from
`Encoder`, and a line in the table of `genrescope.encoders.registry`; other packages add encoders by
entry points. torch and Keras are imported only inside the modules of encoders, so that this package
can be imported without them.
"""

from genrescope.encoders.base import Encoder
from genrescope.encoders.files import EmbedReport, embed_files
from genrescope.encoders.layer import encoder_layer
from genrescope.encoders.registry import encoder_class, encoder_kinds, make_encoder
from genrescope.encoders.store import Embedding
from genrescope.encoders.weights import Weights

__all__ = [
    "EmbedReport",
    "Embedding",
    "Encoder",
    "Weights",
    "embed_files",
    "encoder_class",
    "encoder_kinds",
    "encoder_layer",
    "make_encoder",
]
