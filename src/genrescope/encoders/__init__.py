"""Pretrained networks as encoders: a segment of audio in, an embedding out.

Encoders know nothing of genres. Each is one module of this package with a class derived from
`Encoder`, and a line in the table of `genrescope.encoders.registry`; other packages add encoders by
entry points. torch and Keras are imported only inside the modules of encoders, so that this package
can be imported without them.
"""

from genrescope.encoders.base import Embedding, Encoder
from genrescope.encoders.registry import encoder_class, encoder_kinds, make_encoder
from genrescope.encoders.weights import Weights

__all__ = ["Embedding", "Encoder", "Weights", "encoder_class", "encoder_kinds", "make_encoder"]
