"""The map's page in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from browsing import CHROMIUM, PATIENCE, launched, until
from genrescope.examples import write_examples
from genrescope.library.map import Map, Method
from genrescope.library.map_page import write_page
from libraries import entry

pytest.importorskip("playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

HARMFUL = '</script><b id="harm">&amp;<script>window.harm = 1</script>'
ODD = "50 % #1? „Käse“ & <i>'\".wav"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched("--autoplay-policy=no-user-gesture-required") as chromium:
        yield chromium


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of an odd name with a song of an odd name, and one that no browser plays.

    A minute long: it must not end before a busy machine has looked whether it plays.
    """
    folder = tmp_path_factory.mktemp("music") / "Musik #1 100%"
    import soundfile

    written = write_examples(folder.parent / "examples", seconds=4)
    samples, rate = soundfile.read(written[0])
    samples = np.tile(samples, 15)
    folder.mkdir()
    soundfile.write(folder / ODD, samples, rate)
    soundfile.write(folder / "old.au", samples, rate)
    return folder


@pytest.fixture(scope="module")
def page_file(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten jazz tracks on the left, ten rock tracks on the right, far from each other."""
    names = [ODD, "old.au", "gone.mp3", *(f"{i:02d}.mp3" for i in range(17))]
    entries = [
        entry(
            name,
            np.zeros(16),
            root=str(music),
            genre="jazz" if i < 10 else "rock",
            confidence=(i + 1) / 20,
            title={0: "Der Hahn", 3: HARMFUL, 4: "Jóga"}.get(i),
            artist={0: "Die Köche", 4: "Björk"}.get(i),
            album="Homogenic" if i == 4 else None,
            year=1997 if i == 4 else None,
        )
        for i, name in enumerate(names)
    ]
    positions = np.array([[-2.0 if i < 10 else 2.0, float(i % 10)] for i in range(20)])
    file = tmp_path_factory.mktemp("page") / "map.html"
    write_page(Map("shelf", Method.tsne, ("blues", "jazz", "rock"), entries, positions), file)
    return file


class Shown:
    """A page as its reader has it; everything it asks for and complains of is noted."""

    def __init__(self, browser: Any, file: Path, **context: Any) -> None:
        self.page = browser.new_page(viewport={"width": 1000, "height": 700}, **context)
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())
        self.wait_until_drawn()
        self.map = self.page.locator("#map")
        box = self.map.bounding_box()
        self.middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def wait_until_drawn(self) -> None:
        """Until the map has its size, and what has changed is drawn."""
        until(self.page, "width > 0 && width === canvas.clientWidth && !waiting")

    def text(self, place: str) -> str:
        return str(self.page.locator(place).inner_text())

    def find(self, words: str) -> None:
        self.page.locator("#search").fill(words)

    def found(self) -> list[str]:
        return list(self.page.locator("#found button").all_inner_texts())

    def to_the_middle(self, words: str) -> None:
        """Bring a track to the middle of the map, and forget the search."""
        self.find(words)
        self.page.locator("#search").press("Enter")
        self.find("")
        self.page.locator("#close").click()
        self.wait_until_drawn()

    def genre(self, name: str) -> Any:
        return self.page.locator("#legend button", has_text=name)

    def plays(self) -> bool:
        until(self.page, "document.getElementById('player').currentTime > 0")
        return True


@pytest.fixture
def shown(browser: Any, page_file: Path) -> Iterator[Shown]:
    shown = Shown(browser, page_file)
    yield shown
    shown.page.close()


def test_it_opens_and_asks_for_nothing(shown: Shown, page_file: Path) -> None:
    shown.page.wait_for_timeout(200)
    assert shown.complaints == []
    assert shown.asked == [page_file.as_uri()]
    assert shown.text("h1") == "20 tracks"
    assert shown.page.locator("#legend button").all_inner_texts() == ["jazz\n10", "rock\n10"]
    drawn = shown.page.evaluate(
        "() => { const c = document.getElementById('map');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " return d.filter((v, i) => i % 4 == 3 && v).length; }"
    )
    assert drawn > 1000


def test_pointing_shows_title_and_genre(shown: Shown) -> None:
    shown.to_the_middle("hahn")
    assert shown.page.locator("#tip").is_hidden()
    shown.page.mouse.move(*shown.middle)
    assert shown.text("#tip") == "Die Köche - Der Hahn\njazz, 5 %"
    shown.page.mouse.move(shown.middle[0] + 60, shown.middle[1])
    assert shown.page.locator("#tip").is_hidden()


def test_a_click_plays_a_file_with_an_odd_name(shown: Shown, music: Path) -> None:
    shown.to_the_middle("hahn")
    shown.page.mouse.click(*shown.middle)
    assert shown.text("#name") == "Die Köche - Der Hahn"
    assert shown.text("#path") == str(music / ODD)
    assert shown.plays()
    assert unquote(shown.asked[-1]) == f"file://{music / ODD}"
    assert shown.complaints == []


def test_it_says_why_a_track_can_not_be_played(shown: Shown, music: Path) -> None:
    shown.to_the_middle("old.au")
    shown.page.mouse.click(*shown.middle)
    assert "This browser can't play .au files" in shown.text("#problem")
    assert shown.text("#path") == str(music / "old.au")
    assert shown.page.locator("#player").is_hidden()
    shown.to_the_middle("gone.mp3")
    assert shown.page.locator("#card").is_hidden()
    shown.page.mouse.click(*shown.middle)
    shown.page.locator("#problem", has_text="the file is gone").wait_for()


def test_the_legend_filters(shown: Shown) -> None:
    shown.to_the_middle("hahn")
    shown.genre("rock").click()
    assert shown.genre("rock").get_attribute("aria-pressed") == "true"
    assert shown.text("#count") == "10 of 20 shown"
    shown.page.mouse.move(*shown.middle)
    assert shown.page.locator("#tip").is_hidden()
    shown.find("mp3")
    assert len(shown.found()) == 10
    shown.find("")
    shown.genre("rock").click()
    assert shown.genre("rock").get_attribute("aria-pressed") == "false"
    shown.page.mouse.move(shown.middle[0] + 1, shown.middle[1])
    assert shown.text("#tip").startswith("Die Köche")


@pytest.mark.parametrize(
    "words", ["jóga", "joga", "BJORK", "homogenic 1997", "00003 joga", "01.mp3"]
)
def test_the_search_looks_at_everything(shown: Shown, words: str) -> None:
    shown.find(words)
    if words.startswith("00003"):
        assert shown.found() == []
        assert shown.text("#count") == "nothing found"
    else:
        assert shown.found() == ["Björk - Jóga"]
        assert shown.text("#count") == "1 found"


def test_a_match_is_played_by_click(shown: Shown) -> None:
    shown.find("koche")
    shown.page.locator("#found button").click()
    assert shown.plays()


def test_a_title_of_html_is_text(shown: Shown) -> None:
    shown.find("window.harm")
    assert shown.found() == [HARMFUL]
    shown.page.locator("#found button").click()
    assert shown.text("#name") == HARMFUL
    shown.find("")
    shown.page.mouse.move(shown.middle[0] + 1, shown.middle[1])
    assert shown.text("#tip b") == HARMFUL
    assert shown.page.locator("#harm").count() == 0
    assert shown.page.evaluate("typeof window.harm") == "undefined"


def test_its_policy_lets_no_other_script_run(shown: Shown) -> None:
    shown.page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.harm = 1';"
        " document.body.append(s); const i = new Image(); i.src = 'https://example.org/x.png'; }"
    )
    assert shown.page.evaluate("typeof window.harm") == "undefined"
    for _ in range(6000):  # the browser tells of them later
        if len(shown.complaints) == 2:
            break
        shown.page.wait_for_timeout(100)
    assert len(shown.complaints) == 2
    assert all("Content Security Policy" in each for each in shown.complaints)


def test_it_works_by_keyboard(shown: Shown) -> None:
    keys = shown.page.keyboard
    keys.press("/")
    keys.type("hahn")
    keys.press("Enter")
    assert shown.text("#name") == "Die Köche - Der Hahn"
    keys.press("Escape")
    assert shown.page.locator("#search").input_value() == ""
    keys.press("ArrowUp")
    assert shown.text("#name") == "old.au"
    keys.press("ArrowDown")
    keys.press("Enter")
    assert shown.plays()
    keys.press("Enter")
    assert shown.page.evaluate("document.getElementById('player').paused")
    keys.press("ArrowRight")
    assert shown.text("#genre").startswith("rock")
    keys.press("Escape")
    assert shown.page.locator("#card").is_hidden()


def test_wheel_and_drag(shown: Shown) -> None:
    shown.to_the_middle("hahn")
    shown.page.mouse.move(*shown.middle)
    before = shown.page.evaluate("view.scale")
    shown.page.mouse.wheel(0, -400)  # what is under the pointer stays there
    until(shown.page, f"view.scale > {before}")  # the browser does not wait for it
    shown.wait_until_drawn()
    shown.page.mouse.move(shown.middle[0] + 1, shown.middle[1])
    assert shown.text("#tip").startswith("Die Köche")
    shown.page.mouse.down()
    shown.page.mouse.move(shown.middle[0] + 101, shown.middle[1] + 50, steps=4)
    shown.page.mouse.up()
    assert shown.page.locator("#card").is_hidden()  # a drag is no click
    shown.page.mouse.move(shown.middle[0] + 100, shown.middle[1] + 51)
    assert shown.text("#tip").startswith("Die Köche")
    shown.page.mouse.click(shown.middle[0] + 100, shown.middle[1] + 50)
    assert shown.text("#name").startswith("Die Köche")


def test_tracks_on_one_spot_take_turns(browser: Any, tmp_path: Path) -> None:
    entries = [entry(f"{i}.mp3", np.zeros(16)) for i in range(3)]
    file = tmp_path / "map.html"
    write_page(Map("shelf", Method.pca, ("jazz", "rock"), entries, np.zeros((3, 2))), file)
    shown = Shown(browser, file)
    names = []
    for _ in range(3):
        shown.page.mouse.click(*shown.middle)
        names.append(shown.text("#name"))
    assert sorted(names) == ["0.mp3", "1.mp3", "2.mp3"]
    shown.page.close()


def test_a_phone(browser: Any, page_file: Path) -> None:
    shown = Shown(browser, page_file, has_touch=True, is_mobile=True, device_scale_factor=2)
    shown.page.set_viewport_size({"width": 390, "height": 780})
    shown.wait_until_drawn()
    assert shown.page.evaluate("document.documentElement.scrollWidth") == 390
    shown.find("hahn")
    shown.page.locator("#found button").tap()
    assert shown.page.locator("#found button").count() == 0  # the map can be seen again
    assert shown.text("#name") == "Die Köche - Der Hahn"
    shown.find("")
    shown.page.locator("#close").tap()
    box = shown.map.bounding_box()
    shown.page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert shown.text("#name") == "Die Köche - Der Hahn"
    assert shown.plays()
    shown.page.close()


def test_two_fingers_zoom(browser: Any, page_file: Path) -> None:
    shown = Shown(browser, page_file, has_touch=True)
    shown.to_the_middle("hahn")
    touch = shown.page.context.new_cdp_session(shown.page)
    x, y = shown.middle

    def fingers(kind: str, apart: float) -> None:
        points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
        touch.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points if apart else []}
        )

    before = shown.page.evaluate("view.scale")
    fingers("touchStart", 40)
    for apart in (60, 80, 100, 120):
        fingers("touchMove", apart)
    fingers("touchEnd", 0)
    until(shown.page, "fingers.size === 0")
    assert shown.page.evaluate("view.scale") == pytest.approx(3 * before, rel=0.15)
    shown.page.mouse.move(x + 2, y)
    shown.wait_until_drawn()
    assert shown.page.locator("#card").is_hidden()
    shown.page.close()


def test_it_is_dark_where_the_reader_wants_it(browser: Any, page_file: Path) -> None:
    for scheme, wanted in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 24, 29)")):
        shown = Shown(browser, page_file, color_scheme=scheme)
        seen = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert seen == wanted
        shown.page.close()


def test_ten_thousand_tracks(browser: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    entries = [
        entry(f"{i}.mp3", np.zeros(16), title=f"Song {i}", confidence=float(random.random()))
        for i in range(10_000)
    ]
    file = tmp_path / "map.html"
    drawn = Map("shelf", Method.tsne, ("jazz", "rock"), entries, random.normal(size=(10_000, 2)))
    write_page(drawn, file)
    assert file.stat().st_size < 1_500_000
    shown = Shown(browser, file)
    shown.find("song 7777")
    assert shown.found() == ["Song 7777"]
    shown.page.keyboard.press("Enter")
    shown.wait_until_drawn()
    assert shown.complaints == []
    shown.page.close()
