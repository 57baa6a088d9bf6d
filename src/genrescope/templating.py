"""HTML pages from the templates of `genrescope/templates`, the one way in which pages are made.

All values are escaped; `markupsafe.Markup` marks the text that must not be, such as a style sheet
whose hash is in a content security policy. Pages extend `base.html`, which has the blocks `head`,
`style` and `body`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def environment() -> Environment:
    """The Jinja environment of all pages: it escapes, and refuses names that have no value."""
    return Environment(
        loader=PackageLoader("genrescope"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, **values: Any) -> str:
    """A page, from the name of its template and the values that stand in it."""
    return environment().get_template(template).render(**values)
