"""`genrescope recipes`: what can be trained, the published figures, and what was run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from genrescope.cli.laboratory import warnings_as_notices
from genrescope.cli.terminal import Format, printable
from genrescope.errors import BundleError, FileError, NotHereError

if TYPE_CHECKING:
    from genrescope.evaluation.published import PublishedFigure
    from genrescope.training.explain import Setting
    from genrescope.training.recipe import Recipe

_NOTHING = "–"
# Of an axis with more labels only the first are shown.
_LABELS = 7


@dataclass(frozen=True)
class Listed:
    """An entry of the list.

    Attributes
    ----------
    family
        The shipped recipe that it is a member of, or itself.
    paper
        The paper that it reproduces; empty for none. It may state no figure.
    published
        The figures of the paper's row that it is compared with.
    waits
        Why it can't be trained yet; empty where it can.
    ours, leaked
        Accuracy in percent where it was run, and whether that run leaks.
    """

    family: str
    name: str
    description: str
    paper: str
    published: tuple[PublishedFigure, ...]
    waits: str
    ours: float | None
    leaked: bool

    @property
    def state(self) -> str:
        """`run`, `ready`, or `waits` and the reason."""
        if self.ours is not None:
            return "run"
        return f"waits: {self.waits}" if self.waits else "ready"

    @property
    def tests(self) -> list[float]:
        """The paper's accuracy on the test subset, in percent."""
        return [figure.value_percent for figure in self.published if figure.subset == "test"]

    def fields(self) -> dict[str, Any]:
        """As JSON has it."""
        from genrescope.evaluation.published import PAPERS

        row = self.published[0] if self.published else None
        keys = ("table", "protocol", "features", "model")
        return {
            "name": self.name,
            "family": self.family,
            "description": self.description,
            "paper": self.paper or None,
            "citation": PAPERS.get(self.paper),
            "row": {key: getattr(row, key) for key in keys} if row else None,
            "published": {figure.metric: figure.value_percent for figure in self.published},
            "state": self.state,
            "ours_percent": self.ours,
            "leaked": self.leaked,
        }


@warnings_as_notices()
def recipes(
    recipe: str | None = typer.Argument(
        None, help="Only this one, or the members of this family one by one."
    ),
    format: Format = typer.Option(
        Format.table, "--format", "-f", help="How the recipes are written."
    ),
    runs: Path = typer.Option(Path("runs"), "--runs", help="Folder of the runs."),
) -> None:
    """List the recipes with the figure of their paper, and whether they were run.

    A family of recipes is one line of the table; JSON lists all members. Figures are accuracies on
    test tracks, in percent; those of a run that leaks are not shown.

    With a name, all settings follow, with their meaning; the default where it is another one.
    Change one by genrescope train NAME --set KEY=VALUE. Those that this kind of run does not read
    are only named.

    A recipe is `run` when its folder in the folder of runs is finished, `ready` when it can be
    trained, and `waits` when weights, stored vectors, or its feature or model are not here. One
    that is malformed is an error that names all its faults.

    Examples:

      genrescope recipes

      genrescope recipes kth-table4

      genrescope recipes my-genres

      genrescope recipes --format json
    """
    from genrescope.training.recipe import expand
    from genrescope.training.recipe_files import shipped_recipes

    families = [recipe] if recipe else [*shipped_recipes()]
    listed = {
        family: [_listed(family, name, runs) for name in expand(family)] for family in families
    }
    if format is Format.json:
        members = [entry.fields() for entries in listed.values() for entry in entries]
        typer.echo(json.dumps(members, indent=1))
    elif recipe:
        _show({entry.name: [entry] for entry in listed[recipe]})
        _show_settings([entry.name for entry in listed[recipe]])
    else:
        _show(listed)


def _listed(family: str, name: str, runs: Path) -> Listed:
    from genrescope.evaluation.published import PublishedRow, published_figures
    from genrescope.evaluation.run_result import RunResult

    recipe, waits = _loaded(name)
    figures: list[PublishedFigure] = []
    if recipe and recipe.published and recipe.published.table:
        figures = published_figures(PublishedRow(**recipe.published.model_dump()))
    ours, leaked = None, False
    try:
        run = RunResult.read(runs / (recipe.name if recipe else name))
        ours, leaked = run.percent("accuracy"), run.leaked
    except FileError:
        pass
    description = recipe.description if recipe else ""
    paper = recipe.published.paper if recipe and recipe.published else ""
    return Listed(family, name, description, paper, tuple(figures), waits, ours, leaked)


def _loaded(name: str) -> tuple[Recipe | None, str]:
    """Read a recipe as far as possible; also return why it can't be trained."""
    from genrescope.models import model_kinds
    from genrescope.training.recipe import load_recipe

    try:
        recipe, waits = load_recipe(name), ""
    except (NotHereError, BundleError) as error:
        recipe, waits = None, _short(str(error))
    if recipe is None:
        try:
            # Everything except the feature can be read without it.
            recipe = load_recipe(name, ["feature={kind: mfcc}"])
        except NotHereError:
            return None, waits
    kind = recipe.model.get("kind")
    if kind not in model_kinds():
        waits = "; ".join([*[waits] * bool(waits), f"no model {kind!r} yet"])
    return recipe, waits or _absent(recipe)


def _absent(recipe: Recipe) -> str:
    """What a recipe needs that is not on this machine: weights of an encoder, stored vectors."""
    from genrescope.encoders import encoder_kinds
    from genrescope.encoders.registry import published_weights
    from genrescope.encoders.weights import is_here
    from genrescope.training.settings import EmbeddingSettings

    if recipe.feature.get("kind") == "stored":
        return "no stored vectors: --features FILE"
    settings = recipe.embedding
    name, seed = str(recipe.model.get("encoder")), recipe.model.get("weights_seed")
    if isinstance(settings, EmbeddingSettings):
        name, seed = settings.encoder, settings.weights_seed
    if name not in encoder_kinds() or seed is not None or recipe.weights is not None:
        return ""
    try:
        alternatives = published_weights(name)
    except NotHereError as error:  # a package is missing
        return str(error)
    if any(map(is_here, alternatives)):
        return ""
    return f"no weights of {name}: genrescope encoders fetch {name}, or --weights"


def _short(reason: str) -> str:
    """Shorten an error: without the list of known names."""
    before, sign, _ = reason.partition("; there are: ")
    return f"{before} yet" if sign else before


def _show(listed: dict[str, list[Listed]]) -> None:
    """Print a line for each family, with its description and axes below."""
    from genrescope.evaluation.published import PAPERS

    console = Console(highlight=False)
    width = max(map(len, ["Recipe", *listed]))
    head = _line("Recipe", "Paper", "Published", "Ours", Text("State"), width)
    head.stylize("bold")
    console.print(head)
    shown = ""
    for family, entries in listed.items():
        tests = [value for entry in entries for value in entry.tests]
        ours = [e.ours for e in entries if e.ours is not None and not e.leaked]
        name, state = printable(family), _state(entries)
        line = _line(name, _paper(entries), _range(tests), _range(ours), state, width)
        line.stylize("bold", 0, len(name))
        console.print(line)
        # Members of one family have one description.
        text = entries[0].description
        reasons = dict.fromkeys(f"waits: {e.waits}" for e in entries if e.waits and e.ours is None)
        below = [
            _axes(family, entries),
            "" if text == shown else text,
            _system(entries),
            *reasons,
        ]
        shown = text
        for quiet in filter(None, below):
            console.print(Padding(Text(printable(quiet), style="dim"), (0, 0, 0, 4)))

    papers = dict.fromkeys(
        entry.paper for entries in listed.values() for entry in entries if entry.paper in PAPERS
    )
    for paper in papers:
        console.print(Text(f"{paper}: {PAPERS[paper]}", style="dim"))


def _show_settings(names: Sequence[str]) -> None:
    """Print the settings of a recipe; of a family, "by member" where its members differ."""
    from genrescope.training.explain import REQUIRED, explained
    from genrescope.training.recipe import load_recipe

    members = []
    for name in names:
        with suppress(NotHereError, BundleError):  # its state says what is missing
            members.append({setting.key: setting for setting in explained(load_recipe(name))})
    if not members:
        return
    console = Console(highlight=False)
    console.print(Text("Settings", style="bold"))
    settings: dict[str, list[Setting]] = {}
    for member in members:
        for key, setting in member.items():
            settings.setdefault(key, []).append(setting)
    unused = [key for key, found in settings.items() if not any(each.is_used for each in found)]
    shown = {
        key: found for key, found in settings.items() if key not in ("name", "description", *unused)
    }
    # Settings that are documented together have one meaning, which follows the last of them.
    following = [found[0].meaning for found in shown.values()][1:]
    for (key, found), next_meaning in zip(shown.items(), [*following, ""], strict=True):
        values = {json.dumps(setting.value, default=str) for setting in found}
        same = len(values) == 1 and len(found) == len(members)
        line = Text(f"{key}: ").append(_value(found[0].value) if same else "by member", "bold")
        if found[0].default == REQUIRED:
            line.append("  (has no default)")
        elif not same or found[0].default != found[0].value:
            line.append(f"  (default: {_value(found[0].default)})")
        console.print(line)
        if found[0].meaning != next_meaning:
            _print_below(console, found[0].meaning)
    if unused:
        console.print(Text("Not used by this kind of run", style="bold"))
        _print_below(console, ", ".join(unused))


def _print_below(console: Console, text: str) -> None:
    console.print(Padding(Text(printable(text), "dim"), (0, 0, 0, 4), expand=False))


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _line(name: str, paper: str, published: str, ours: str, state: Text, width: int) -> Text:
    return Text(f"{name:<{width}}  {paper:<17} {published:>11} {ours:>11}  ").append_text(state)


def _axes(family: str, entries: Sequence[Listed]) -> str:
    """The labels after a family's name, as in (mlp|cnn|lstm)/(mfcc|mfcc-delta)."""
    if len(entries) == 1:
        return ""
    labels = [entry.name.removeprefix(f"{family}/").split("/") for entry in entries]
    axes = [list(dict.fromkeys(axis)) for axis in zip(*labels, strict=True)]
    return "/" + "/".join(f"({_some(axis)})" for axis in axes)


def _some(labels: Sequence[str]) -> str:
    shown = labels if len(labels) <= _LABELS else labels[: _LABELS - 2]
    more = len(labels) - len(shown)
    return "|".join([*shown, *[f"… {more} more"] * bool(more)])


def _paper(entries: Sequence[Listed]) -> str:
    figures = [figure for entry in entries for figure in entry.published]
    tables = dict.fromkeys(f"{figure.paper}, {figure.table}" for figure in figures)
    papers = dict.fromkeys(entry.paper for entry in entries if entry.paper)
    return "; ".join(tables or papers) or _NOTHING


def _system(entries: Sequence[Listed]) -> str:
    """The paper's row of a single recipe."""
    if len(entries) > 1 or not entries[0].published:
        return ""
    figure = entries[0].published[0]
    return f"compared with: {figure.features}, {figure.model} ({figure.protocol})"


def _range(values: Sequence[float]) -> str:
    if not values:
        return _NOTHING
    low, high = f"{min(values):.1f}", f"{max(values):.1f}"
    return low if low == high else f"{low} - {high}"


def _state(entries: Sequence[Listed]) -> Text:
    """The state of a single recipe; of a family, how many of its members were run."""
    done = [entry for entry in entries if entry.ours is not None]
    if len(entries) == 1 or not done:
        text = Text(" / ".join(dict.fromkeys(e.state.partition(":")[0] for e in entries)))
    else:
        text = Text(f"{len(done)} of {len(entries)} run")
    if any(entry.leaked for entry in done):
        text.append(", LEAKED" if len(entries) == 1 else ", one LEAKED", style="bold red")
    return text
