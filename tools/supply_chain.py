"""What Genrescope is made of: licences, a bill of materials, and an audit of the dependencies.

python tools/supply_chain.py licences              # writes docs/licences.md
python tools/supply_chain.py sbom dist/sbom.json   # CycloneDX, of this environment
python tools/supply_chain.py audit                 # known vulnerabilities; needs a network
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
_NAME = re.compile(r"[\w.-]+")
# Metadata of some packages holds a whole licence, or a name without its version.
_LONGEST = 60


def normalised(name: str) -> str:
    """A package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def dependencies(requirements: Iterable[str]) -> dict[str, metadata.Distribution | None]:
    """What requirements need, and what that needs in turn; None for what is not installed.

    Requirements for other systems or for extras that nothing asks for are left out.
    """
    from packaging.requirements import Requirement

    found: dict[str, metadata.Distribution | None] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = normalised(requirement.name)
        try:
            distribution = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            found.setdefault(name, None)
            continue
        found[name] = distribution
        for asked in ("", *requirement.extras):
            if (name, asked) not in seen:
                seen.add((name, asked))
                waiting += [(Requirement(text), asked) for text in distribution.requires or []]
    return found


def licence_of(distribution: metadata.Distribution) -> str:
    """The licence that a package states: an SPDX expression, a name, or its classifiers."""
    fields = distribution.metadata
    stated = fields.get("License-Expression") or ""
    classifiers = [
        text.rpartition("::")[2].strip()
        for text in fields.get_all("Classifier") or []
        if text.startswith("License ::") and not text.endswith("OSI Approved")
    ]
    free_text = (fields.get("License") or "").strip()
    short = free_text if len(free_text) <= _LONGEST and "\n" not in free_text else ""
    return stated or "; ".join(classifiers) or short or "see its own files"


def weights() -> list[tuple[str, str, str, str]]:
    """File, licence, what it is and where it comes from, of every file of weights."""
    from genrescope.encoders.registry import encoder_class, encoder_kinds
    from genrescope.hub.catalogue import KNOWN

    rows = {
        each.file: (each.file, each.licence, each.about, each.url)
        for name in encoder_kinds()
        for each in encoder_class(name).weights
    }
    rows |= {
        each.file: (each.file, each.licence, each.about, each.url)
        for model in KNOWN.values()
        for each in (model.weights, *model.further)
    }
    return sorted(rows.values())


def project_requirements() -> dict[str, list[str]]:
    """The requirements of the base install and of each extra."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {"": project["dependencies"], **project["optional-dependencies"]}


def users_requirements() -> list[str]:
    """All that users may install; not what only tests and documentation need."""
    groups = project_requirements()
    names = [name for name in groups if name not in ("all", "dev", "test", "docs")]
    texts = [text for name in names for text in groups[name]]
    return [text for text in texts if not text.startswith("genrescope[")]


def page() -> str:
    """The page, as Markdown."""
    from genrescope.inference import Bundle, shipped_bundles

    direct = {normalised(_NAME.match(text)[0]) for text in users_requirements()}  # type: ignore[index]
    base = set(dependencies(project_requirements()[""]))
    found = dependencies(users_requirements())
    lines = [
        "# Licences",
        "",
        "Genrescope itself: Apache-2.0. This page is written by `python tools/supply_chain.py "
        "licences` from what the installed packages state about themselves (Linux x86-64); where a "
        "package states nothing short, its own files have the text. No package's source is copied "
        "into Genrescope.",
        "",
        "## Weights",
        "",
        "| file | licence | what it is |",
        "|---|---|---|",
    ]
    for name in shipped_bundles():
        licence = Bundle.load(name).manifest.licence
        lines.append(f"| the shipped bundle `{name}` | {licence} | trained in this project |")
    for file, licence, about, url in weights():
        name = f"[`{file}`]({url})" if url.startswith("https://") else f"`{file}` ({url})"
        lines.append(f"| {name} | {licence} | {about} |")
    lines += [
        "",
        "Weights that are not shipped are fetched from where their authors publish them, when they "
        "are asked for. A licence with NC forbids commercial use.",
        "",
        "## Packages",
        "",
        "| package | licence | needed by |",
        "|---|---|---|",
    ]
    for name in sorted(found):
        distribution = found[name]
        licence = licence_of(distribution) if distribution else "not installed here"
        needed = (
            "base install" if name in base else "an extra" if name in direct else "a dependency"
        )
        lines.append(f"| {name} | {licence.replace('|', '/')} | {needed} |")
    return "\n".join(lines) + "\n"


def sbom(output: Path) -> None:
    """Write a bill of materials of this environment, by cyclonedx-bom."""
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible"]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), "-o", str(output), sys.executable]
    subprocess.run(command, check=True)


def audit() -> int:
    """Ask for known vulnerabilities of the pinned versions; 2 where that is not possible here."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(ROOT / "constraints.txt"), "--no-deps"]
    result = subprocess.run(
        [*command, "--disable-pip", "--format", "json"], capture_output=True, text=True, check=False
    )
    if "No module named pip_audit" in result.stderr:
        print("the audit needs pip-audit: pip install pip-audit", file=sys.stderr)
        return 2
    if "Traceback" in result.stderr or "Connection" in result.stderr:
        reason = result.stderr.strip().splitlines()[-1]
        print(f"the database of vulnerabilities can't be reached: {reason}", file=sys.stderr)
        return 2
    packages = json.loads(result.stdout)["dependencies"]
    for each in packages:
        for known in each.get("vulns", []):
            print(f"{each['name']} {each['version']}: {known['id']}")
    # A package that the database does not know is no package without vulnerabilities.
    unknown = [each["name"] for each in packages if "skip_reason" in each]
    if unknown:
        count = f"{len(unknown)} of {len(packages)} packages"
        print(f"{count} could not be audited: {', '.join(unknown[:5])} …", file=sys.stderr)
        return 2
    return result.returncode


def main() -> int:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("licences")
    commands.add_parser("sbom").add_argument("output", type=Path)
    commands.add_parser("audit")
    options = parser.parse_args()
    if options.command == "licences":
        PAGE.write_text(page(), "utf-8")
    elif options.command == "sbom":
        sbom(options.output)
    else:
        return audit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
