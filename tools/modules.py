"""Write the list of modules into docs/architecture.md: each with the first line of its docstring.

    python tools/modules.py

Every Python module of `src/genrescope` is in it once, in a table for each package. The tests check
that none is missing and that none is gone.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "genrescope"
PAGE = ROOT / "docs" / "architecture.md"


def modules() -> dict[str, dict[str, str]]:
    """Purpose of each module, by package and dotted name below it; "" are the base modules."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if path.name == "__init__.py":
            parts = parts[:-1]
            if len(parts) < 2:  # the packages have a table of their own
                continue
        package, names = ("", parts) if len(parts) == 1 else (parts[0], parts[1:])
        docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        found[package][".".join(names)] = docstring.partition("\n")[0]
    return dict(sorted(found.items()))


def tables() -> list[str]:
    """A heading and a table for each package, the base modules first."""
    lines: list[str] = []
    for package, named in modules().items():
        heading = f"### {package}" if package else "### Base modules"
        lines += ["", heading, "", "| module | purpose |", "|---|---|"]
        lines += [f"| `{name}` | {purpose.rstrip('.')} |" for name, purpose in named.items()]
    return lines[1:]


if __name__ == "__main__":
    sys.path.append(str(ROOT / "benchmarks"))
    from pages import write_between

    write_between(PAGE, "modules", tables())
