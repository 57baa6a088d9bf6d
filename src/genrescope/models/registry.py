"""Models by their kind: the table of those built in, and entry points of other packages.

Another package adds a model by an entry point of the group `genrescope.models` whose name is the
kind and whose value is a class; `genrescope.models` says what it has to have.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

from genrescope.errors import RecipeError, UnknownNameError
from genrescope.features.base import no_boolean
from genrescope.registry import Registry, no_such

_BUILTIN = {
    "classical": "genrescope.models.classical:Classical",
    "cnn": "genrescope.models.cnn:CNN",
    "deepsound_cnn": "genrescope.models.paper_cnn:DeepsoundCNN",
    "embedding_cnn": "genrescope.models.paper_cnn:EmbeddingCNN",
    "finetuned": "genrescope.models.finetuned:FineTuned",
    "kth_cnn": "genrescope.models.paper_cnn:KthCNN",
    "lstm": "genrescope.models.lstm:LSTM",
    "mlp": "genrescope.models.mlp:MLP",
}

MODELS = Registry("model", "genrescope.models", _BUILTIN, extras=dict.fromkeys(_BUILTIN, "train"))


def model_kinds() -> list[str]:
    """Names of the models there are."""
    return MODELS.names()


def model_class(settings: dict[str, Any]) -> Any:
    """The class of a recipe's model; its attribute `trainer` says how it is trained.

    Raises
    ------
    RecipeError
        When the kind is unknown, or a package that the model needs is missing.
    """
    kind = settings.get("kind")
    if not isinstance(kind, str):
        raise RecipeError(f"model: no kind given; there are: {', '.join(model_kinds())}")
    return MODELS.get(kind)


def trainer_of(settings: dict[str, Any]) -> str:
    """Name of the trainer of a recipe's model: "torch" unless its class names another one.

    Raises
    ------
    RecipeError
        As `model_class`.
    """
    return str(getattr(model_class(settings), "trainer", "torch"))


def make_model(settings: dict[str, Any], *, shape: tuple[int, int], genres: int) -> Any:
    """Build a model from a recipe's settings.

    Parameters
    ----------
    settings
        `kind`, and the settings of that kind.
    shape
        Size and frames of a segment.
    genres
        Number of genres.

    Returns
    -------
    model
        An instance of the class that `model_class` gives; a network draws its weights from torch's
        random numbers, which the caller seeds.

    Raises
    ------
    RecipeError
        When the kind is unknown, a setting is not one of its own or not valid, or a package that
        the model needs is missing.
    """
    model = model_class(settings)
    own = {name: value for name, value in settings.items() if name != "kind"}
    try:
        known = signature(model, eval_str=True).parameters
    except NameError:  # of a type that is imported for type checkers alone
        known = signature(model).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        names = [name for name in known if name not in ("shape", "genres")]
        for name in own:
            if name not in names:
                what = f"model {settings['kind']}: no setting"
                raise UnknownNameError(no_such(what, name, names))
    try:
        for name in own.keys() & known.keys():
            try:
                no_boolean(own[name], known[name].annotation)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return model(shape, genres, **own)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"model {settings['kind']}: {error}") from None
