"""Print how large each package is, of the working tree or of a commit.

    python tools/sizes.py            # the working tree
    python tools/sizes.py a9d9ce4    # a commit

A row for each package below `src/genrescope`, one for its base modules (the files that lie directly
in it), and one for the tests: files, lines, the longest file, the longest function and the class
with the most methods. Lines are all lines of a file; a function's include its decorators,
signature and docstring. The table is Markdown.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
HEADER = ("Package", "Files", "Lines", "Longest file", "Longest function", "Most methods")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_files(commit: str | None) -> Iterator[tuple[PurePosixPath, str]]:
    """Path below the root and content of each Python file of the package and the tests."""
    if commit is None:
        for folder in ("src", "tests"):
            for path in sorted((ROOT / folder).rglob("*.py")):
                yield PurePosixPath(path.relative_to(ROOT).as_posix()), path.read_text("utf-8")
        return
    listed = _git("ls-tree", "-r", "--name-only", commit, "src", "tests").splitlines()
    for name in listed:
        if name.endswith(".py"):
            yield PurePosixPath(name), _git("show", f"{commit}:{name}")


def package_of(path: PurePosixPath) -> str:
    """The row that a file belongs to."""
    if path.parts[0] == "tests":
        return "tests"
    if path.parts[1] != "genrescope":
        return path.parts[1]
    return path.parts[2] if len(path.parts) > 3 else "(base modules)"


def row(package: str, files: dict[PurePosixPath, str]) -> tuple[str, ...]:
    """The cells of a package's row."""
    lengths = {path.name: text.count("\n") for path, text in files.items()}
    functions: dict[str, int] = {}
    methods: dict[str, int] = {}
    for path, text in files.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Function):
                first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                functions[f"{path.name}:{node.name}"] = (node.end_lineno or first) - first + 1
            elif isinstance(node, ast.ClassDef):
                methods[node.name] = sum(isinstance(each, Function) for each in node.body)
    most = (_largest(numbers) for numbers in (lengths, functions, methods))
    return package, str(len(files)), str(sum(lengths.values())), *most


def _largest(numbers: dict[str, int]) -> str:
    name = max(numbers, key=lambda name: numbers[name], default="")
    return f"{numbers[name]} (`{name}`)" if name else "-"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def main() -> None:
    """Print the table of the commit named on the command line, or of the working tree."""
    commit = sys.argv[1] if len(sys.argv) > 1 else None
    packages: dict[str, dict[PurePosixPath, str]] = defaultdict(dict)
    everything = {}
    for path, text in python_files(commit):
        packages[package_of(path)][path] = text
        if path.parts[0] == "src":
            everything[path] = text
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    for package in sorted(packages, key=lambda name: (name == "tests", name)):
        print(f"| {' | '.join(row(package, packages[package]))} |")
    print(f"| {' | '.join(row('all of src', everything))} |")


if __name__ == "__main__":
    main()
