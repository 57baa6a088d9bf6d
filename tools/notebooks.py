"""Execute the notebooks in docs/notebooks and store their output in them.

    python tools/notebooks.py            # all
    python tools/notebooks.py classify   # one

Each runs in a folder of its own that is removed afterwards. What differs from run to run without
meaning anything (times, identifiers, the kernel's version) is not stored.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from genrescope.atomic import write_atomic

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"


def executed(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Run all cells in a folder; the notebook with what came out.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        When a cell fails.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kernel = NotebookClient(
        notebook,
        timeout=1800,
        startup_timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    # The notebooks call `genrescope`, which lies next to the interpreter that runs this. IPython
    # gives it a terminal; its bars and colours are of no use in a stored output.
    plain = {"TTY_COMPATIBLE": "0", "NO_COLOR": "1", "COLUMNS": "90"}
    kernel.execute(env=os.environ | plain | {"PATH": path})
    for number, cell in enumerate(notebook.cells):
        cell.metadata.clear()
        cell.id = f"cell-{number:02}"
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    notebook.metadata.language_info = {"name": "python"}
    return notebook


def _joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs without the accident of where the kernel cut the text into pieces."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        if "text" in output:
            output.text = output.text.replace("\r\n", "\n")
            if joined and joined[-1].get("name") == output.name:
                joined[-1].text += output.text
                continue
        joined.append(output)
    return joined


def main() -> None:
    """Execute the notebooks named on the command line, or all."""
    names = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    for name in names:
        path = FOLDER / f"{name}.ipynb"
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(nbformat.read(path, as_version=4), Path(folder))
        write_atomic(path, nbformat.writes(notebook, version=4).encode() + b"\n")
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
