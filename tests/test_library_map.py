"""Where tracks lie on a map, and that they stay there."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from genrescope.cli.map import map_library
from genrescope.errors import GenrescopeError
from genrescope.library.map import Map, Method, draw_map
from genrescope.library.map_page import COLOURS, SHAPES, write_picture
from genrescope.library.places import LibraryError
from genrescope.library.store import Library, read_table
from libraries import MODEL, entry, make_library

pytest.importorskip("lancedb")
pytest.importorskip("openTSNE")

GROUPS = 3
METHODS = [Method.tsne, Method.pca]
app = typer.Typer()
app.command()(map_library)


def sounds(count: int, *, seed: int = 0) -> NDArray:
    """Embeddings in three groups by turns, far from zero as a network's are."""
    middles = 5 + 3 * np.random.default_rng(99).standard_normal((GROUPS, 16))
    noise = np.random.default_rng(seed).standard_normal((count, 16))
    return middles[np.arange(count) % GROUPS] + 0.7 * noise


def tracks(count: int, *, seed: int = 0, prefix: str = "") -> list:
    return [
        entry(f"{prefix}{i:02d}.mp3", each, genre=("jazz", "rock")[i % 2])
        for i, each in enumerate(sounds(count, seed=seed))
    ]


def group(path: str) -> int:
    return int(path[-6:-4]) % GROUPS


def positions(drawn: Map) -> dict[str, tuple[float, float]]:
    return {e.path: tuple(p) for e, p in zip(drawn.entries, drawn.positions, strict=True)}


def nearest_groups(drawn: Map, wanted: str = "") -> list[bool]:
    """Whether each track's nearest on the map is of its own group."""
    away = np.linalg.norm(drawn.positions[:, None] - drawn.positions, axis=-1)
    np.fill_diagonal(away, np.inf)
    return [
        group(e.path) == group(drawn.entries[nearest].path)
        for e, nearest in zip(drawn.entries, away.argmin(axis=1), strict=True)
        if e.path.startswith(wanted)
    ]


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """36 tracks; one more is gone, one is silent."""
    others = [entry("gone.mp3", sounds(1)[0], deleted=True), entry("0.mp3", [0] * 16, genre=None)]
    return make_library(tmp_path / "library", [*tracks(36), *others])


class TestDrawing:
    """A map drawn as a whole."""

    @pytest.mark.parametrize("method", METHODS)
    def test_near_means_alike(self, library: Library, method: Method) -> None:
        drawn = draw_map(library, method)
        assert drawn.is_fresh
        assert (drawn.kept, drawn.placed, drawn.gone) == (0, 0, 0)
        assert len(drawn.entries) == 36
        assert all(nearest_groups(drawn))

    def test_pca_is_the_projection_that_differs_most(self, library: Library) -> None:
        drawn = draw_map(library, Method.pca)
        embeddings = np.stack([e.embedding for e in drawn.entries]).astype(float)
        _, values, _ = np.linalg.svd(embeddings - embeddings.mean(axis=0))
        assert np.linalg.norm(drawn.positions, axis=0) == pytest.approx(values[:2])

    @pytest.mark.parametrize("method", METHODS)
    def test_the_same_tracks_give_the_same_map(self, library: Library, method: Method) -> None:
        first = draw_map(library, method)
        again = draw_map(library, method, redraw=True)
        assert again.is_fresh
        assert positions(again) == positions(first)

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 9])
    def test_few_tracks_are_enough(self, tmp_path: Path, count: int, method: Method) -> None:
        drawn = draw_map(make_library(tmp_path / "few", tracks(count)), method)
        assert np.isfinite(drawn.positions).all()
        assert len(set(positions(drawn).values())) == count

    @pytest.mark.parametrize("method", METHODS)
    def test_copies_lie_together(self, tmp_path: Path, method: Method) -> None:
        made = tracks(24)
        made += [replace(made[5], path=f"copy {i}.mp3") for i in range(6)]
        drawn = draw_map(make_library(tmp_path / "copies", made), method)
        where = positions(drawn)
        copies = np.array([where["05.mp3"], *(where[f"copy {i}.mp3"] for i in range(6))])
        assert np.linalg.norm(np.ptp(copies, axis=0)) < 0.3 * np.linalg.norm(
            np.ptp(drawn.positions, axis=0)
        )

    def test_nothing_but_copies(self, tmp_path: Path) -> None:
        made = [entry(f"{i}.mp3", np.ones(16), content="one") for i in range(8)]
        assert np.isfinite(draw_map(make_library(tmp_path / "copies", made)).positions).all()

    def test_progress_is_told(self, library: Library) -> None:
        told: list[tuple[int, int]] = []
        draw_map(library, progress=lambda done, total: told.append((done, total)))
        assert told[0][0] == 0
        assert told[-1] == (750, 750)
        assert [done for done, _ in told] == sorted(done for done, _ in told)

    def test_nothing_to_draw(self, tmp_path: Path) -> None:
        with pytest.raises(LibraryError, match="no track in it"):
            draw_map(
                make_library(tmp_path / "none", [entry("gone.mp3", sounds(1)[0], deleted=True)])
            )

    @pytest.mark.parametrize(
        ("method", "package", "how"),
        [
            (Method.tsne, "openTSNE", r"genrescope\[library\]"),
            (Method.umap, "umap", r"genrescope\[umap\]"),
        ],
    )
    def test_a_missing_package_is_named(
        self,
        library: Library,
        monkeypatch: pytest.MonkeyPatch,
        method: Method,
        package: str,
        how: str,
    ) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(GenrescopeError, match=f"pip install '?{how}"):
            draw_map(library, method)


class TestPlacing:
    """Tracks that came after the map."""

    @pytest.mark.parametrize("method", METHODS)
    def test_new_ones_go_to_their_likes_and_no_other_moves(
        self, library: Library, method: Method
    ) -> None:
        before = positions(draw_map(library, method))
        library.put(tracks(9, seed=1, prefix="new "))
        drawn = draw_map(library, method)
        assert (drawn.kept, drawn.placed, drawn.gone) == (36, 9, 0)
        after = positions(drawn)
        assert {path: after[path] for path in before} == before
        assert all(nearest_groups(drawn, "new "))
        assert positions(draw_map(library, method)) == after

    @pytest.mark.parametrize("method", METHODS)
    def test_one_new_track_in_a_small_library(self, tmp_path: Path, method: Method) -> None:
        for count in (1, 2, 3, 6):
            library = make_library(tmp_path / str(count), tracks(count))
            before = positions(draw_map(library, method))
            library.put(tracks(1, seed=1, prefix="new "))
            drawn = draw_map(library, method)
            assert (drawn.kept, drawn.placed) == (count, 1)
            assert np.isfinite(drawn.positions).all()
            assert before.items() <= positions(drawn).items()

    def test_moved_ones_stay_and_deleted_ones_go(self, library: Library) -> None:
        before = positions(draw_map(library))
        all_tracks = {e.path: e for e in library.entries()}
        library.put([replace(all_tracks["03.mp3"], path="elsewhere/3.mp3")])
        library.put([replace(all_tracks[f"0{i}.mp3"], deleted=True) for i in (3, 4)])
        drawn = draw_map(library)
        assert (drawn.kept, drawn.placed, drawn.gone) == (35, 0, 1)
        after = positions(drawn)
        assert after["elsewhere/3.mp3"] == before["03.mp3"]
        assert "04.mp3" not in after

    def test_a_copy_does_not_take_the_place_of_its_original(self, library: Library) -> None:
        before = positions(draw_map(library))
        original = next(e for e in library.entries() if e.path == "03.mp3")
        library.put([replace(original, path="00 copy.mp3")])
        drawn = draw_map(library)
        assert (drawn.kept, drawn.placed) == (36, 1)
        assert positions(drawn)["03.mp3"] == before["03.mp3"]

    def test_a_file_with_other_music_is_new(self, library: Library) -> None:
        draw_map(library)
        library.put([entry("03.mp3", sounds(5)[4], content="other")])
        drawn = draw_map(library)
        assert (drawn.kept, drawn.placed, drawn.gone) == (35, 1, 1)

    def test_where_most_is_new_it_is_drawn_afresh(self, tmp_path: Path) -> None:
        library = make_library(tmp_path / "grown", tracks(6))
        draw_map(library)
        library.put(tracks(24, seed=1, prefix="new "))
        drawn = draw_map(library)
        assert drawn.is_fresh
        assert np.mean(nearest_groups(drawn)) == 1

    def test_each_method_keeps_its_own(self, library: Library) -> None:
        before = positions(draw_map(library, Method.tsne))
        assert draw_map(library, Method.pca).is_fresh
        drawn = draw_map(library, Method.tsne)
        assert not drawn.is_fresh
        assert positions(drawn) == before

    def test_another_model_draws_anew(self, library: Library) -> None:
        draw_map(library, Method.pca)
        other = Library.create(Path(library.place), replace(MODEL, sha256="1" * 64))
        other.put(tracks(36))
        assert draw_map(other, Method.pca).is_fresh

    def test_a_map_of_another_version_is_drawn_anew(self, library: Library) -> None:
        draw_map(library, Method.pca)
        table = read_table(library, "map-pca")
        assert table is not None
        library.write_table("map-pca", table.replace_schema_metadata(None))
        assert draw_map(library, Method.pca).is_fresh


def test_umap(library: Library) -> None:
    pytest.importorskip("umap")
    before = draw_map(library, Method.umap)
    assert all(nearest_groups(before))
    library.put(tracks(9, seed=1, prefix="new "))
    drawn = draw_map(library, Method.umap)
    assert (drawn.kept, drawn.placed) == (36, 9)
    assert positions(before).items() <= positions(drawn).items()
    assert all(nearest_groups(drawn, "new "))


class TestPicture:
    """The PNG, and the colours of both."""

    def test_it_shows_the_genres_in_their_colours(self, library: Library, tmp_path: Path) -> None:
        from matplotlib.image import imread

        drawn = draw_map(library, Method.pca)
        write_picture(drawn, tmp_path / "map.png")
        pixels = (255 * imread(tmp_path / "map.png")[..., :3]).round().astype(int).reshape(-1, 3)
        assert (pixels == 255).all(axis=1).mean() > 0.5
        for colour in COLOURS[:2]:
            rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
            assert (np.abs(pixels - rgb).max(axis=1) < 25).sum() > 500
        absent = [int(COLOURS[3][i : i + 2], 16) for i in (1, 3, 5)]
        assert not (np.abs(pixels - absent).max(axis=1) < 25).any()

    def test_no_two_genres_look_the_same(self) -> None:
        """Distances in Oklab; dichromats after Machado et al. 2009."""
        eyes = {
            "all": np.eye(3),
            "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
            "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
            "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
        }
        rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in COLOURS]) / 255
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        shapes = np.arange(len(COLOURS)) % len(SHAPES)
        for eye, seen in eyes.items():
            lab = oklab(np.clip(linear @ np.array(seen).T, 0, 1))
            away = np.linalg.norm(lab[:, None] - lab, axis=-1) + np.eye(len(lab))
            if eye == "all":
                assert away.min() > 0.15
            assert away[shapes[:, None] == shapes].min() > 0.15, eye


def oklab(linear: NDArray) -> NDArray:
    """Oklab of linear sRGB (B. Ottosson 2020)."""
    cones = linear @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    return np.cbrt(cones) @ np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )


class TestCommand:
    """genrescope map"""

    def run(self, *words: object) -> str:
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        return done.stdout

    def test_it_draws_and_says_so(self, library: Library, tmp_path: Path) -> None:
        page, png = tmp_path / "map.html", tmp_path / "map.png"
        words = ("--library", library.place, "--out", page, "--png", png, "--method", "pca")
        assert self.run(*words) == "36 drawn by PCA\n"
        assert page.read_text().startswith("<!doctype html>")
        assert png.read_bytes().startswith(b"\x89PNG")
        library.put(tracks(2, seed=1, prefix="new "))
        assert self.run(*words) == "38 drawn by PCA: 36 kept, 2 placed, 0 gone\n"
        assert self.run(*words, "--redraw") == "38 drawn by PCA\n"

    def test_json(self, library: Library, tmp_path: Path) -> None:
        page = tmp_path / "map.html"
        said = self.run(*("-l", library.place, "-o", page, "--method", "pca", "--format", "json"))
        assert json.loads(said) == {
            "out": str(page),
            "png": None,
            "library": library.place,
            "method": "pca",
            "tracks": 36,
            "used_in_training": None,
            "perhaps_used_in_training": None,
            "fresh": True,
            "kept": 0,
            "placed": 0,
            "gone": 0,
        }

    @pytest.mark.parametrize("option", ["--out", "--png"])
    @pytest.mark.parametrize(
        ("place", "why"),
        [
            ("nowhere/map.html", "there is no such folder"),
            ("library", "a folder, not a file"),
            ("x" * 300, "can't be written: File name too long"),
            ("/proc/map.html", "can't be written: No such file or directory"),
        ],
    )
    def test_where_it_cannot_be_written_it_is_not_drawn(
        self, library: Library, tmp_path: Path, option: str, place: str, why: str
    ) -> None:
        file = tmp_path / place
        words = ["-l", library.place, "-o", str(tmp_path / "a.html"), option, str(file)]
        done = CliRunner().invoke(app, words)
        assert isinstance(done.exception, GenrescopeError)
        assert str(done.exception) == f"{file}: {why}"
        assert read_table(library, "map-tsne") is None
        assert [each.name for each in tmp_path.iterdir()] == ["library"]

    def test_page_and_picture_are_two_files(self, library: Library, tmp_path: Path) -> None:
        words = ["-o", f"{tmp_path}/a.html", "--png", f"{tmp_path}/./a.html"]
        done = CliRunner().invoke(app, ["-l", library.place, *words])
        assert done.exit_code == 2
        assert "the same file" in done.output
        assert read_table(library, "map-tsne") is None
