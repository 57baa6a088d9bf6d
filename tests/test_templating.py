"""Pages from templates: values are escaped, and none is forgotten."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from genrescope.templating import environment, render


def test_values_are_escaped() -> None:
    page = render("base.html", title="<script>alert('&')</script>")
    assert "<title>&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;</title>" in page
    assert page.startswith("<!doctype html>") and page.endswith("</html>\n")


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="title"):
        render("base.html")


def test_the_environment_is_made_once() -> None:
    assert environment() is environment()
