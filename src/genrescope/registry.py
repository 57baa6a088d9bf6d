"""Kinds of features, models, encoders and data sets, by name: built in, or from another package.

A package adds kinds of its own by entry points, which are found once it is installed::

    [project.entry-points."genrescope.features"]
    my_feature = "my_package.feature:MyFeature"

A kind is imported when it is first asked for. A built-in name can't be replaced by another package.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib import import_module
from typing import Any

from genrescope.errors import NotHereError, RecipeError, UnknownNameError


class Registry:
    """Names of one sort of thing, and where each is defined.

    Parameters
    ----------
    noun
        What one is called in errors: "feature", "encoder".
    group
        Entry points that other packages add to it.
    builtin
        Name to "module:attribute".
    extras
        Name to the extra of Genrescope that installs what it needs, for the error where an import
        fails.
    aliases
        Old names to present ones.
    """

    def __init__(
        self,
        noun: str,
        group: str,
        builtin: Mapping[str, str],
        *,
        extras: Mapping[str, str] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.noun, self.group = noun, group
        self.builtin, self.extras = dict(builtin), dict(extras or {})
        self.aliases = dict(aliases or {})

    @cached_property
    def _places(self) -> dict[str, str]:
        """Name to "module:attribute" of all there are."""
        from importlib.metadata import entry_points  # reading those of all packages takes a while

        return {e.name: e.value for e in entry_points(group=self.group)} | self.builtin

    def names(self) -> list[str]:
        """All names, sorted; without aliases."""
        return sorted(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self.builtin or name in self.aliases or name in self._places

    def place(self, name: str) -> str:
        """Where a name is defined, as "module:attribute"; nothing is imported.

        Raises
        ------
        UnknownNameError
            When there is no such name.
        """
        name = self.aliases.get(name, name)
        defined = self.builtin.get(name) or self._places.get(name)
        if defined is None:
            raise UnknownNameError(
                no_such(f"no {self.noun}", name, self.names(), also=self.aliases)
            )
        return defined

    def get(self, name: str) -> Any:
        """Import what a name stands for.

        Raises
        ------
        UnknownNameError
            When there is no such name.
        NotHereError
            When a package that it needs is missing.
        RecipeError
            When the module does not define it.
        """
        module, _, attribute = self.place(name).partition(":")
        try:
            return getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            extra = self.extras.get(name)
            fix = f": pip install 'genrescope[{extra}]'" if extra else ""
            raise NotHereError(f"{self.noun} {name}: needs {error.name}{fix}") from None
        except AttributeError:
            raise RecipeError(f"{self.noun} {name}: {module} defines no {attribute}") from None


def no_such(what: str, name: object, known: Iterable[str], *, also: Iterable[str] = ()) -> str:
    """The message for a name that is not among the known ones.

    Parameters
    ----------
    what
        The words before the name, such as "no encoder".
    name
        The name that was given.
    known
        Those there are, which are listed.
    also
        Others that are understood, but not listed.

    Examples
    --------
    >>> no_such("no fruit", "aple", ["apple", "pear"])
    "no fruit 'aple' (did you mean 'apple'?); there are: apple, pear"
    """
    names = list(known)
    hint, there = did_you_mean(name, [*names, *also]), ", ".join(names) or "none"
    return f"{what} {name!r}{hint}; there are: {there}"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The words " (did you mean 'X'?)" for a near name; empty where none is near."""
    spelled = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(str(name).casefold(), spelled, n=1)
    return f" (did you mean {spelled[near[0]]!r}?)" if near else ""
