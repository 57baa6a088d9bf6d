"""Write the tables of docs/data.md: data sets, files that go with them, weights and recipes.

Data sets come from their layouts, weights from the encoders, recipes from their files. Sizes and
hashes of tables and lists are those of the files in a folder of research data::

    python tools/data_page.py --research ../shared/data
"""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from genrescope.atomic import write_atomic
from genrescope.datasets import LAYOUTS
from genrescope.datasets.layouts import layout
from genrescope.encoders import encoder_class, encoder_kinds
from genrescope.training.recipe import Recipe, expand, load_recipe
from genrescope.training.recipe_files import shipped_recipes

PAGE = Path(__file__).resolve().parents[1] / "docs/data.md"

# Files that others published for these data sets: what a file is, its makers, its licence as far as
# they state one, and the command that checks it.
_SPLITS = "https://github.com/coreyker/dnn-mgr/tree/master/gtzan (Kereliuk, Sturm and Larsen 2015)"
_TAGGRAMS = "in the form of https://github.com/jordipons/sklearn-audio-transfer-learning"
_KAGGLE = "https://www.kaggle.com/datasets/andradaolteanu/gtzan-dataset-music-genre-classification"
_UNKNOWN = "address not known"
FILES = {
    "gtzan-splits/train_filtered.txt": (
        *("Fault-filtered split of GTZAN, training tracks", _SPLITS, "none stated"),
        "genrescope train default-filtered --data gtzan --set split.folder=gtzan-splits",
    ),
    "gtzan-splits/valid_filtered.txt": (
        "its validation tracks",
        _SPLITS,
        "none stated",
        "as above",
    ),
    "gtzan-splits/test_filtered.txt": ("its test tracks", _SPLITS, "none stated", "as above"),
    "gtzan-splits/artist_groups.csv": (
        *("Artists of 948 tracks of GTZAN, as numbers", _UNKNOWN, "none stated"),
        "genrescope datasets check gtzan --artists artist_groups.csv",
    ),
    "gtzan-features/librosa_features_30_sec.csv": (
        *("57 statistics of librosa's features of GTZAN's 1000 tracks", _KAGGLE, "none stated"),
        "genrescope train gtzan-librosa/SVCrbf --features librosa_features_30_sec.csv",
    ),
    "gtzan-features/training_data_GTZAN_MSDmusicnn_taggram.npz": (
        *("MusiCNN's 50 tags of GTZAN by segment, training tracks", _TAGGRAMS, "none stated"),
        "genrescope encoders verify musicnn",
    ),
    "gtzan-features/evaluation_data_GTZAN_MSDmusicnn_taggram.npz": (
        *("the same, test tracks", _TAGGRAMS, "none stated", "as above"),
    ),
    "fma-metadata/tracks_small.csv": (
        *("FMA-small's rows of tracks.csv", "https://github.com/mdeff/fma", "CC BY 4.0"),
        "genrescope datasets check fma-metadata",
    ),
    "fma-metadata/genres.csv": (
        *("FMA's tree of genres", "https://github.com/mdeff/fma", "CC BY 4.0", "none"),
    ),
    "fma-features/fma_small_vggish128_mean.npz": (
        *("VGGish embeddings of FMA-small, averaged over each clip", _UNKNOWN, "as FMA's metadata"),
        "genrescope encoders verify vggish",
    ),
    "fma-features/fma_small_mfcc20_first3s_statistics.npz": (
        *("Statistics of 20 MFCCs over the first 3 s of FMA-small", _UNKNOWN, "as FMA's metadata"),
        "none",
    ),
}

# The feature files that recipes of stored vectors are made for, by the feature's name and whether
# the recipe is for FMA.
_STORED = {
    ("vggish128-mean", True): ("fma_small_vggish128_mean.npz",),
    ("mfcc20-first3s", True): ("fma_small_mfcc20_first3s_statistics.npz",),
    ("librosa57", False): ("librosa_features_30_sec.csv",),
    ("musicnn-taggram", False): (
        "training_data_GTZAN_MSDmusicnn_taggram.npz",
        "evaluation_data_GTZAN_MSDmusicnn_taggram.npz",
    ),
}

# Files that come with a data set, or are made by a command that the recipe's file states.
_WITH_THE_DATA = {
    "fma-features": ("fma/fma_metadata/features.csv",),
    "berkeley-fig7-embedding": ("finetuned.npz",),
}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines
    )


def datasets_table() -> str:
    """One row for each layout."""
    rows = []
    for name in sorted(LAYOUTS.names(), key=lambda name: (layout(name).generic, name)):
        about = layout(name).about
        hashes = "<br>".join(f"{file} `{value}`" for file, value in about.hashes.items())
        get = " ".join(filter(None, (about.url, about.download)))
        rows.append(
            (
                *(f"**{about.title}** (`{name}`)<br>{about.description}", f"`{about.files}`"),
                *(get, about.licence, "<br>".join(filter(None, (about.size, hashes)))),
            )
        )
    return table(
        ("Data set", "Files", "Makers, and how to get it", "Licence", "Size, hashes"), rows
    )


def files_table(research: Path) -> str:
    """One row for each table and list, with its size and hash."""
    rows = []
    for name, (about, makers, licence, check) in FILES.items():
        content = (research / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        command = check if check in ("none", "as above") else f"`{check}`"
        size = f"{len(content):,}".replace(",", " ")
        rows.append((f"`{name}`", about, makers, licence, size, f"`{digest}`", command))
    return table(("File", "What", "Makers", "Licence", "Bytes", "SHA-256", "Check"), rows)


def weights_table() -> str:
    """One row for each file of weights."""
    rows = []
    for name in encoder_kinds():
        for weights in encoder_class(name).weights:
            size = f"{weights.size:,}".replace(",", " ")
            digest = f"`{weights.sha256}`" if weights.sha256 else "none published"
            check = f"`genrescope encoders verify {name}`"
            rows.append((weights.about, weights.url, weights.licence, size, digest, check))
    return table(("Weights", "Address", "Licence", "Bytes", "SHA-256", "Check"), rows)


def recipes_table() -> str:
    """One row for each shipped recipe or family."""
    rows = []
    for name in shipped_recipes():
        members = [load_recipe(member) for member in expand(name)]
        recipe, paper = members[0], members[0].published
        count = "" if len(members) == 1 else f" ({len(members)} recipes)"
        teacher = "VGGish embeddings" if _is_fma(recipe) else "MusiCNN's tags"
        needs = _data(recipe) + f", {teacher} as teacher (optional)" * recipe.expects_teacher
        encoders = dict.fromkeys(
            m.feature.get("encoder") or m.model.get("encoder") for m in members
        )
        rows.append(
            (
                f"`{name}`{count}<br>{recipe.description}",
                ", ".join(filter(None, (paper.paper, paper.table))) if paper else "",
                needs,
                ", ".join(filter(None, encoders)) or "none",
                f"`{_command(name, recipe)}`",
                paper.differs if paper else "",
            )
        )
    header = (
        "Recipe",
        "Paper",
        "Data",
        "Weights",
        "Command",
        "Expected differences from the paper",
    )
    return table(header, rows)


def _is_fma(recipe: Recipe) -> bool:
    if recipe.published is not None and recipe.published.paper == "berkeley":
        return True
    return recipe.feature.get("kind") == "sampled_mel" and recipe.split.kind == "official"


def _is_fma_mel(recipe: Recipe) -> bool:
    """Whether the recipe is for FMA-small's stored mel spectrograms."""
    return _is_fma(recipe) and recipe.feature.get("kind") == "sampled_mel"


def _features(recipe: Recipe) -> tuple[str, ...]:
    """Files of stored vectors that the recipe needs; a name in <> where none is published."""
    if recipe.feature.get("kind") != "stored":
        return ()
    name = str(recipe.feature.get("name"))
    if name in _WITH_THE_DATA:
        return _WITH_THE_DATA[name]
    return _STORED.get((name, _is_fma(recipe)), (f"<{name} of GTZAN>.npz",))


# Recipes of other data than GTZAN or FMA's audio, and how they are trained.
_OTHER = {
    "my-genres": ("a folder for each genre", "genrescope train my-genres --data my-music"),
}


def _data(recipe: Recipe) -> str:
    if recipe.name in _OTHER:
        return _OTHER[recipe.name][0]
    files = [f"`{file}`" for file in _features(recipe)]
    if _is_fma_mel(recipe):
        return "FMA-small as mel spectrograms"
    return ", ".join(["FMA-small" if _is_fma(recipe) else "GTZAN", *files])


def _command(name: str, recipe: Recipe) -> str:
    if name in _OTHER:
        return _OTHER[name][1]
    files = _features(recipe)
    # A table that names genres and subsets is a data set by itself.
    if files and not _is_fma(recipe) and not files[0].startswith("<"):
        words = [f"genrescope train {name}"]
    else:
        fma = "fma/fma_metadata" if files else "fma/fma_small"
        fma = "fma-mel" if _is_fma_mel(recipe) else fma
        words = [f"genrescope train {name} --data {fma if _is_fma(recipe) else 'gtzan'}"]
    words += [f"--features {file}" for file in files]
    if recipe.split.by_artist:
        words.append("--artists artist_groups.csv")
    if recipe.split.kind == "lists":
        words.append("--set split.folder=gtzan-splits")
    return " ".join(words)


def replaced(page: str, name: str, content: str) -> str:
    """The page with what stands between two marks replaced."""
    pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if len(pattern.findall(page)) != 1:
        raise SystemExit(f"{PAGE}: expected the marks of {name} once")
    return pattern.sub(lambda marks: f"{marks[1]}{content}\n{marks[2]}", page)


def written(page: str, research: Path | None) -> str:
    """The page with all tables of now; that of the research files only where they are given."""
    page = replaced(page, "datasets", datasets_table())
    if research is not None:
        page = replaced(page, "files", files_table(research))
    page = replaced(page, "weights", weights_table())
    return replaced(page, "recipes", recipes_table())


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--research", type=Path, help="The folder of research data.")
    options = parser.parse_args()
    page = written(PAGE.read_text(encoding="utf-8"), options.research)
    write_atomic(PAGE, page.encode())


if __name__ == "__main__":
    main()
