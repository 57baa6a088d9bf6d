"""Options that belong together, as one dataclass that several commands take as one parameter."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a Typer command have parameters that are dataclasses of options.

    Typer sees an option for each field, in the place of the parameter; the command gets the
    dataclass. The fields are annotated as parameters of a command are
    (`Annotated[bool, typer.Option("--yes")]`).
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        group = groups.get(parameter.name)
        annotated = {parameter.name: hints[parameter.name]} if group is None else _fields(group)
        defaults = {} if group is None else {field.name: field.default for field in fields(group)}
        for name, hint in annotated.items():
            default = defaults.get(name, parameter.default)
            # Keywords, since those with a default may stand before those without.
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(inspect.Parameter(name, kind, default=default, annotation=hint))

    @functools.wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field: values.pop(field) for field in _fields(group)})
        command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _fields(group: Any) -> dict[str, Any]:
    """The fields of a dataclass with their annotations."""
    hints = get_type_hints(group, include_extras=True)
    return {field.name: hints[field.name] for field in fields(group)}
