"""The models that are trained here.

A model's class is called as `Model(shape, genres, **settings)`: the shape `(size, frames)` of a
segment, the number of genres, and the settings of the recipe other than `kind`. It raises
ValueError for settings that are not valid. Its attribute `trainer` says how it is trained:

- "torch" (the default): a torch module. It takes segments `[n, size, frames]`, gives `(logits
  [n, genres], embedding [n, embedding_size])` and has the attribute `embedding_size`. Training,
  export to ONNX and the check of that export are the same for all of them.
- "sklearn": it is fitted in one call, `fit(vectors [n, size * frames], labels [n])`; it has
  `onnx() -> bytes`, `candidates(settings)` and `embedding_size`, and its settings include `seed`.

A recipe names a model by its kind (`model: {kind: cnn}`), see `genrescope.models.registry`.
"""

from genrescope.models.registry import make_model, model_class, model_kinds, trainer_of

__all__ = ["make_model", "model_class", "model_kinds", "trainer_of"]
