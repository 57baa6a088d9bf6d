"""The page of `genrescope serve` in a real browser, with real music files and a real service."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile

from browsing import CHROMIUM, PATIENCE, launched, until
from genrescope.examples import write_examples
from serving import running
from test_compare import put

pytest.importorskip("playwright")
pytestmark = [
    pytest.mark.needs("app"),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]
AXE = Path(sys.prefix) / "npm" / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --autoplay-policy=no-user-gesture-required "
    "--use-fake-ui-for-media-stream --use-fake-device-for-media-stream"
)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    write_examples(folder, seconds=12)
    return folder


@pytest.fixture(scope="module")
def address(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from genrescope.library.scan import scan

    place, runs = str(tmp_path_factory.mktemp("library")), tmp_path_factory.mktemp("runs")
    scan([music], library=place)
    for name, accuracy in (("kth-table4-5-epochs/lstm/mfcc", 0.7), ("a-run-of-a-long-name", 0.4)):
        page = put(runs / name, accuracy) / "report.html"
        page.write_text("<title>The report</title><h1>70 %</h1>", "utf-8")
    with running(library=place, runs=runs) as served:
        yield served


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched(*FLAGS.split()) as chromium:
        yield chromium


def new_context(browser: Any, **settings: Any) -> Any:
    context = browser.new_context(**settings)
    context.set_default_timeout(PATIENCE)
    return context


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[Any]:
    """The page; nothing may be complained of, and no request may leave the machine."""
    context = new_context(browser, locale="en-US", permissions=["microphone"])
    context.add_init_script("delete Map.groupBy")  # as in browsers of 2023
    page = context.new_page()
    problems: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: _note(message, problems))
    context.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    yield page
    context.close()
    assert not problems
    own = urlsplit(address).netloc
    outside = [
        url for url in requests if not url.startswith("blob:") and urlsplit(url).netloc != own
    ]
    assert requests
    assert not outside


def _note(message: Any, problems: list[str]) -> None:
    # The browser logs every answer that is no success; pages can't prevent that.
    if message.type in ("error", "warning") and "the server responded with" not in message.text:
        problems.append(message.text)


def drop(page: Any, file: Path) -> None:
    """Drop a file on the page, as the mouse does."""
    import base64

    content = base64.b64encode(file.read_bytes()).decode()
    page.evaluate(
        """([name, content]) => {
            const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], name));
            const drop = document.getElementById("drop");
            for (const kind of ["dragenter", "dragover", "drop"])
                drop.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true,
                                                        cancelable: true}));
        }""",
        [file.name, content],
    )


def finished(page: Any) -> Any:
    return page.wait_for_selector("article[aria-busy=false]")


def place_on_map(page: Any, point: dict[str, float]) -> dict[str, float]:
    """Where a track is drawn on the map, from the map's upper left corner."""
    box = page.locator("#map").bounding_box()
    x, y = page.evaluate("fetch('/v1/map').then(a => a.json()).then(m => m.extent)")
    scale = min(box["width"] / (x or 1), box["height"] / (y or 1)) / 2.3
    return {
        "x": box["width"] / 2 + point["x"] * scale,
        "y": box["height"] / 2 - point["y"] * scale,
    }


def correct(page: Any, track: str, genre: str | None) -> None:
    """Correct the genre of a track by the API."""
    status = page.evaluate(
        """([id, genre]) => fetch("/v1/tracks", {
            method: "PATCH", headers: {"Content-Type": "application/json"},
            body: JSON.stringify({ids: [id], genre})}).then((answer) => answer.status)""",
        [track, genre],
    )
    assert status == 200


def test_a_dropped_file_gets_a_genre_plays_and_is_compared(
    opened: Any, music: Path, tmp_path: Path
) -> None:
    # A minute: it must not end before a busy machine has looked whether it plays.
    samples, rate = soundfile.read(music / "walking-bass.flac")
    soundfile.write(tmp_path / "walking-bass.flac", np.tile(samples, 5), rate)
    found = opened.evaluate("fetch('/v1/tracks').then((answer) => answer.json())")["tracks"]
    [corrected] = [each for each in found if each["name"] == "walking-bass"]
    correct(opened, corrected["id"], "metal")
    drop(opened, tmp_path / "walking-bass.flac")
    finished(opened)
    result = opened.locator("article")
    assert result.locator(".verdict").inner_text().startswith("jazz")
    assert result.locator(".bars li").count() == 5
    strip = result.locator("[role=slider]")
    box = strip.bounding_box()
    strip.click(position={"x": box["width"] * 0.75, "y": 30})
    until(opened, "document.getElementById('audio').currentTime > 44")
    assert not opened.evaluate("document.getElementById('audio').paused")
    assert float(strip.get_attribute("aria-valuenow")) > 40
    strip.press("Home")
    until(opened, "document.getElementById('audio').currentTime < 40")
    assert result.locator(".track-list li").count() == 6
    assert result.locator(".small-map").is_visible()
    painted = strip.locator("canvas.mel").evaluate(
        "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    )
    assert painted > 50
    similar = result.locator(f".track-list li:has([data-play='{corrected['id']}'])").inner_text()
    correct(opened, corrected["id"], None)
    assert "metal" in similar
    result.locator(".track-list button").first.click()  # a similar track
    until(opened, "/v1\\/tracks/.test(document.getElementById('audio').src)")
    until(opened, "document.getElementById('audio').currentTime > 0")
    # A click into the strip, and at once another track: that one is played from its beginning.
    opened.evaluate(
        """() => {
            window.seeks = 0;
            document.getElementById("audio").addEventListener("seeking", () => { window.seeks++; });
            const strip = document.querySelector(".strip"), box = strip.getBoundingClientRect();
            strip.dispatchEvent(new MouseEvent("click", {clientX: box.left + 0.75 * box.width}));
            document.querySelectorAll("article .track-list [data-play]")[1].click();
        }"""
    )
    until(opened, "document.getElementById('audio').currentTime > 0")
    assert "/v1/tracks/" in opened.evaluate("document.getElementById('audio').src")
    assert opened.evaluate("window.seeks") == 0


def test_two_genres_where_either_may_be_right(opened: Any, music: Path) -> None:
    def answer(route: Any) -> None:
        real = route.fetch()
        parts = real.text().split("\n\n")
        [place] = [i for i, part in enumerate(parts) if part.startswith("event: prediction\n")]
        head, _, data = parts[place].partition("data: ")
        event = json.loads(data)
        event["prediction"] |= {
            "answer": "jazz or rock",
            "confidence": 0.4996,
            "probabilities": {"jazz": 0.4996, "rock": 0.29},
        }
        parts[place] = f"{head}data: {json.dumps(event)}"
        route.fulfill(response=real, body="\n\n".join(parts))

    opened.route("**/v1/classify", answer)
    drop(opened, music / "walking-bass.flac")
    finished(opened)
    verdict = opened.locator("article .verdict").inner_text()
    assert verdict.split() == ["jazz", "or", "rock", "jazz", "49%,", "rock", "29%"]
    assert opened.locator("#announce").text_content() == "walking-bass.flac: jazz or rock"
    assert opened.locator("#private").inner_text().startswith("Files stay on this machine")


def test_a_broken_file_gives_a_readable_message(opened: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken <b>.mp3"
    broken.write_bytes(b"PK\x03\x04 no music")
    drop(opened, broken)
    finished(opened)
    text = opened.locator("article [role=alert]").inner_text()
    assert text.startswith("broken <b>.mp3: ")
    assert len(text) > 25


def test_what_the_service_says_of_a_file_is_translated(
    browser: Any, address: str, tmp_path: Path
) -> None:
    context = new_context(browser, locale="de-DE")
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    for name, content, text in (
        ("leer.mp3", b"", "leer (0 Bytes)"),
        ("stück.mp3", b"PK\x03\x04 no music", "keine Musikdatei oder von unbekannter Art"),
    ):
        file = tmp_path / name
        file.write_bytes(content)
        drop(page, file)
        page.get_by_text(f"{name}: {text}").wait_for()
    noise = 0.3 * np.random.default_rng(0).standard_normal(22050 * 5).clip(-3, 3)
    soundfile.write(tmp_path / "rauschen.wav", noise, 22050)
    page.evaluate(
        """() => {
            window.verdicts = [];
            const note = () => {
                window.verdicts.push(document.querySelector(".verdict").textContent);
            };
            const all = {subtree: true, childList: true, characterData: true};
            new MutationObserver(note).observe(document.getElementById("results"), all);
        }"""
    )
    drop(page, tmp_path / "rauschen.wav")
    page.get_by_text("keine Musik: kein Genre zu erkennen").wait_for()
    assert set(page.evaluate("window.verdicts")) == {"…", "Kein Genre"}
    context.close()


def test_the_microphone_is_recorded(opened: Any) -> None:
    opened.evaluate(
        """() => {
            window.streams = [];
            const devices = navigator.mediaDevices, ask = devices.getUserMedia.bind(devices);
            devices.getUserMedia = async (what) => {
                const stream = await ask(what);
                window.streams.push(stream);
                return stream;
            };
        }"""
    )
    twice = "() => { for (let i = 0; i < 2; i++) document.getElementById('record').click(); }"
    opened.evaluate(twice)  # the second one while the browser asks for the microphone
    opened.locator("#record", has_text=re.compile(r"0:0[2-9]|0:[1-9]")).wait_for()
    level = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(Boolean)"
    assert opened.locator("#level").evaluate(level)
    opened.evaluate(twice)
    finished(opened)
    result = opened.locator("article")
    assert result.count() == 1
    states = "window.streams.map((stream) => stream.getTracks().map((track) => track.readyState))"
    assert opened.evaluate(states) == [["ended"]]
    assert opened.locator("#record").get_attribute("aria-disabled") == "false"
    assert "Recording" in result.locator("h2").inner_text()
    assert not result.locator("[role=alert]").count()


def test_the_library_is_searched_corrected_and_put_into_a_playlist(
    opened: Any, address: str, music: Path
) -> None:
    opened.click("nav a[href='#library']")
    rows = opened.locator("#tracks tbody tr")
    rows.first.wait_for()
    assert rows.count() == len(list(music.iterdir()))
    # The map: a click chooses a point.
    opened.locator("#legend button").first.wait_for()
    point = opened.evaluate("fetch('/v1/map').then(a => a.json()).then(m => m.tracks[0])")
    opened.locator("#map").click(position=place_on_map(opened, point))
    card = opened.locator("#map-card")
    assert point["name"] in card.inner_text()
    card.get_by_text("Sounds alike").click()
    opened.locator("#recommended li").first.wait_for()
    opened.fill("#search", "walking")
    until(opened, "document.querySelectorAll('#tracks tbody tr').length === 1")
    rows.locator("select").select_option("metal")
    opened.get_by_text("model: jazz").wait_for()
    rows.locator("select").select_option(label="as the model said")
    opened.get_by_text("model: jazz").wait_for(state="detached")
    opened.fill("#search", "")
    until(opened, "document.querySelectorAll('#tracks tbody tr').length > 3")
    # Likes and recommendations.
    rows.nth(0).locator("[data-kind=like]").click()
    opened.click("#recommend")
    opened.locator("#recommended small").first.wait_for()
    # A playlist: by a button, by dragging, and from here to there.
    rows.nth(0).get_by_role("button", name="Add to playlist").click()
    rows.nth(1).locator("td").nth(2).drag_to(opened.locator("#playlist-title"))
    until(opened, "document.querySelectorAll('#playlist li').length === 2")
    names = opened.locator("#playlist .name").all_inner_texts()
    items = opened.locator("#playlist li")
    items.nth(1).locator(".name").drag_to(items.nth(0).locator(".name"))
    assert opened.locator("#playlist .name").all_inner_texts() == names[::-1]
    rows.nth(0).get_by_role("checkbox").check()
    rows.nth(2).get_by_role("checkbox").check()
    opened.click("#bulk-between")
    until(opened, "document.querySelectorAll('#playlist li').length > 2")
    with opened.expect_download() as download:
        opened.click("#export")
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#EXTM3U"
    assert lines[2].startswith(f"{address}/v1/tracks/")


def test_a_long_playlist_is_written_once_paged_and_bounded(opened: Any, music: Path) -> None:
    opened.click("nav a[href='#library']")
    rows, items = opened.locator("#tracks tbody tr"), opened.locator("#playlist li")
    plus = rows.nth(0).get_by_role("button", name="Add to playlist")
    said = []
    for _ in range(2):  # the second one is said, too: its text is not the same
        plus.click()
        said.append(opened.locator("#announce").evaluate("e => e.textContent"))
    assert said[0].startswith("Added to the playlist: ")
    assert said[1] != said[0]
    assert said[1].strip() == said[0]
    opened.evaluate(
        """() => {
            const write = Storage.prototype.setItem;
            window.writes = 0;
            Storage.prototype.setItem = function (name, value) {
                window.writes += name === "playlist";
                write.call(this, name, value);
            };
        }"""
    )
    count = len(list(music.iterdir()))
    opened.click("#select-page")
    opened.click("#bulk-add")
    assert items.count() == 2 + count
    assert opened.evaluate("window.writes") == 1
    opened.get_by_text(f"Added to the playlist: {count} tracks.").wait_for(state="attached")
    opened.evaluate(
        """() => {
            const one = (_, i) => ({id: `${i}`, name: `track ${i}`, duration: 1});
            localStorage.setItem("playlist", JSON.stringify(Array.from({length: 4999}, one)));
        }"""
    )
    opened.reload()
    items.nth(99).wait_for()
    pages = opened.locator("#playlist-pages")
    pages.get_by_text("Next").press("Enter")
    assert "101–200 of 4999" in pages.inner_text()
    assert opened.evaluate("document.activeElement.dataset.turn") == "next"
    items.nth(0).locator("[data-up]").press("Enter")  # to the page before
    assert items.count() == 100
    assert items.nth(99).locator(".name").inner_text() == "track 100"
    assert items.nth(99).locator("[data-up]").evaluate("e => e === document.activeElement")
    for number in (0, 1):
        rows.nth(number).get_by_role("checkbox").check()
    opened.click("#bulk-add")
    alert = opened.locator("#playlist-problem")
    assert alert.inner_text() == "Not added: 1 track. A playlist has at most 5000 tracks."
    assert "4901–5000 of 5000" in pages.inner_text()
    pages.get_by_text("Previous").click()
    assert not alert.inner_text()


def test_the_api_key_is_asked_for_again_after_escape(browser: Any) -> None:
    with running(api_key="a key of this test") as address:
        context = new_context(browser, locale="en-US")
        page, problems = context.new_page(), list[str]()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(address)
        dialog, again = page.locator("#key-dialog"), page.get_by_role("button", name="Try again")
        for close in (lambda: page.keyboard.press("Escape"), lambda: page.click("#key-cancel")):
            dialog.wait_for()
            close()
            page.get_by_text("This service can't be used without its API key.").wait_for()
            assert dialog.is_hidden()
            again.click()
        page.fill("#key", "another key")
        page.click("#key-form [type=submit]")
        page.get_by_text("That is not the key.").wait_for()
        page.route("**/v1/session", lambda route: route.abort(), times=1)
        page.click("#key-form [type=submit]")
        page.get_by_text("The service does not answer.").wait_for()
        page.fill("#key", "a key of this test")
        page.click("#key-form [type=submit]")
        page.wait_for_selector("body[data-ready]")
        assert dialog.is_hidden()
        assert not again.count()
        # Whoever is asked while they use the page is afterwards where they were.
        context.clear_cookies()
        page.focus("nav a[href='#laboratory']")
        page.keyboard.press("Enter")
        dialog.wait_for()
        for _ in range(200):  # a request that is answered late asks again
            if again.count() == 2:
                break
            page.keyboard.press("Escape")
            page.wait_for_timeout(50)
        assert again.count() == 2
        assert dialog.is_hidden()
        assert page.evaluate("document.getElementById('main').contains(document.activeElement)")
        assert not problems
        context.close()


def test_many_genres_are_corrected_at_once_and_back(opened: Any, address: str, music: Path) -> None:
    opened.click("nav a[href='#library']")
    rows = opened.locator("#tracks tbody tr")
    rows.nth(1).wait_for()
    count = len(list(music.iterdir()))
    rows.nth(0).get_by_role("checkbox").check()
    opened.click("#bulk-all")
    until(opened, f"document.getElementById('bulk-count').textContent === '{count} selected'")
    for genre, corrected in (({"value": "metal"}, count), ({"label": "as the model said"}, 0)):
        opened.select_option("#bulk-genre", **genre)
        opened.click("#bulk-apply")
        until(opened, f"document.querySelectorAll('#tracks .was').length === {corrected}")
        found = opened.evaluate("fetch('/v1/tracks?corrected=true').then(a => a.json())")
        assert found["total"] == corrected
    assert opened.locator("#legend button").count() > 1
    # By headings, as by the list.
    opened.click("[data-sort=confidence]")
    until(opened, "document.querySelector('[aria-sort=descending] .heading') !== null")
    first = opened.evaluate(
        "fetch('/v1/tracks?sort=confidence&descending=true').then(a => a.json())"
    )["tracks"][0]
    until(opened, f"document.querySelector('#tracks tbody tr').dataset.id === '{first['id']}'")
    opened.fill("#search", "no such track")
    opened.get_by_text("No track matches.").wait_for()


def test_likes_and_dislikes_change_what_is_recommended(opened: Any) -> None:
    opened.click("nav a[href='#library']")
    names = opened.locator("#recommended .name")
    opened.evaluate("localStorage.setItem('likes', '[[\"gone\", \"Gone\"]]')")
    opened.reload()  # all that was liked has left the library
    opened.click("#recommend")
    until(opened, "document.querySelector('#recommend-hint').textContent.includes('taken out')")
    heart = opened.locator("tr:has-text('walking-bass') [data-kind=like]")
    assert heart.get_attribute("aria-pressed") == "false"
    heart.click()
    opened.click("[data-sort=genre]")  # the rows are made anew
    until(opened, "document.querySelector('[aria-sort=ascending] [data-sort=genre]') !== null")
    assert heart.get_attribute("aria-pressed") == "true"
    opened.click("#recommend")
    names.first.wait_for()
    before = [each.split("\n")[0] for each in names.all_inner_texts()]
    assert "walking-bass" not in before
    opened.locator(f"tr:has-text('{before[0]}') [data-kind=dislike]").click()
    opened.click("#recommend")
    shown = "[...document.querySelectorAll('#recommended .name')].map(e => e.innerText)"
    until(opened, f"!{shown}.some(name => name.split('\\n')[0] === '{before[0]}')")
    names.first.wait_for()
    after = [each.split("\n")[0] for each in names.all_inner_texts()]
    assert after
    assert before[0] not in after
    opened.reload()  # they are remembered, and taken back by their chips
    opened.locator("#liked button").nth(1).wait_for()
    for _ in range(2):
        opened.locator("#liked button").first.click()
    assert opened.locator("#recommend").is_disabled()


def test_a_playlist_goes_on_to_the_next_track(opened: Any, music: Path) -> None:
    opened.click("nav a[href='#library']")
    rows = opened.locator("#tracks tbody tr")
    for number in (0, 1):
        rows.nth(number).get_by_role("button", name="Add to playlist").click()
    opened.locator("#playlist [data-play]").first.click()
    until(opened, "document.getElementById('audio').currentTime > 0")
    first = opened.locator("#player-name").inner_text()
    opened.evaluate("document.getElementById('audio').currentTime = 11.8")
    until(opened, f"document.getElementById('player-name').textContent !== '{first}'")
    opened.click("#player-previous")
    until(opened, f"document.getElementById('player-name').textContent === '{first}'")
    opened.focus("#player-seek")
    opened.keyboard.press("End")
    until(opened, f"document.getElementById('player-name').textContent !== '{first}'")
    # Past a track that can't be played, too.
    opened.evaluate(
        """localStorage.setItem("playlist", JSON.stringify([{id: "gone", name: "Gone", duration: 1},
            ...JSON.parse(localStorage.getItem("playlist"))].slice(0, 2)))"""
    )
    opened.reload()
    # The clock stands still until that is seen, which a busy machine may take its time for.
    opened.clock.install()
    opened.clock.pause_at(time.time() + 3600)
    opened.locator("#playlist [data-play]").first.click()
    until(opened, "document.getElementById('player-name').textContent.includes('play the file')")
    opened.clock.run_for(2000)
    until(opened, f"document.getElementById('player-name').textContent === '{first}'")
    # But not where the user presses pause meanwhile; pressed again, the track is tried once more.
    opened.click("#player-previous")
    until(opened, "document.getElementById('player-name').textContent.includes('play the file')")
    opened.click("#player-toggle")
    opened.clock.run_for(4000)
    assert "play the file" in opened.locator("#player-name").inner_text()
    opened.clock.resume()
    with opened.expect_response("**/gone/audio"):
        opened.click("#player-toggle")
    until(opened, f"document.getElementById('player-name').textContent === '{first}'")
    # An upload is not in the list; taken away while it is classified, its request stops.
    opened.route("**/v1/classify", lambda route: None)  # one that takes for ever
    opened.click("nav a[href='#listen']")
    with opened.expect_request("**/v1/classify"):
        drop(opened, music / "walking-bass.flac")
    opened.locator("article .strip-foot button").click()
    until(opened, "document.getElementById('player-next').hidden")
    with opened.expect_event("requestfailed"):
        opened.locator("article .result-name button").click()
    assert opened.locator("#player").is_hidden()


ODD_TITLES = (
    "<img src=x onerror=\"document.title='run'\">",
    "</td></tr><script>document.title = 'run'</script>",
    "😀 emoji 👩‍👩‍👧",
    "أغنية جميلة 123",
    "turned \u202e around",
    "&lt;b&gt; \"quoted\" 'single'",
    "long " * 60,
)


def test_libraries_of_no_track_one_track_and_odd_tracks(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One library that grows; the tracks are of files that are gone, the last one at an address."""
    from genrescope.service import collection
    from libraries import entry, make_library

    monkeypatch.setattr(collection, "_CHECKED_EVERY", 0.0)
    library = make_library(tmp_path, [])
    rng = np.random.default_rng(0)
    with running(library=str(tmp_path)) as address:
        context = new_context(browser, locale="den-CA")  # Slave, not German
        page, problems = context.new_page(), list[str]()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: _note(message, problems))
        rows = page.locator("#tracks tbody tr")

        def show() -> None:
            page.goto(f"{address}/#library")
            page.reload()
            page.wait_for_selector("body[data-ready]")

        show()
        assert rows.inner_text() == "The library has no track yet."
        assert "no track yet" in page.locator("#legend").inner_text()
        page.evaluate("localStorage.setItem('likes', '{'); localStorage.setItem('playlist', '[1]')")

        library.put([entry("0.mp3", rng.standard_normal(16), title="only", artist="one")])
        show()
        page.locator("#legend button").wait_for()
        assert rows.count() == 1
        rows.locator("[data-kind=like]").click()
        page.click("#recommend")
        page.get_by_text("No other track to compare with.").wait_for()
        page.locator("#map").focus()
        page.keyboard.press("ArrowRight")
        page.locator("#map-card button").last.click()
        page.get_by_text("No other track to compare with.").wait_for()

        library.put(
            [
                entry(f"{number}.mp3", rng.standard_normal(16), title=title, artist="one")
                for number, title in enumerate(ODD_TITLES)
            ]
        )
        remote = entry("far.mp3", rng.standard_normal(16), root="s3://music", title="far away")
        library.put([remote])
        show()
        page.locator("#legend button").wait_for()
        assert rows.count() == len(ODD_TITLES) + 1
        shown = page.locator("#tracks td bdi:first-child").all_text_contents()
        assert {title for title in shown if title != "one"} == {*ODD_TITLES, "far away"}
        isolated = "cells => cells.every(c => getComputedStyle(c).unicodeBidi === 'isolate')"
        assert page.locator("#tracks td bdi").evaluate_all(isolated)

        # A track at an address can't be played, but liked and put into a playlist.
        far = page.locator("tr:has-text('far away')")
        play = far.get_by_role("button", name="at an address")
        assert play.is_disabled()
        assert not far.locator("[data-play]").count()
        for row in (far, page.locator("tr:has-text('emoji')")):
            row.get_by_role("button", name="Add to playlist").click()
        items = page.locator("#playlist li")
        assert items.nth(0).get_by_role("button", name="at an address").is_disabled()
        with page.expect_response("**/audio"):  # which is gone; the playlist passes over the other
            items.nth(1).locator("[data-play]").click()
        reason = "This browser can't play the file. (the file of this track is gone)"
        page.get_by_text(reason).wait_for()
        page.click("#player-previous")
        page.wait_for_timeout(100)
        assert page.locator("#player-name").inner_text() == reason
        rows.nth(0).get_by_role("button", name="Add to playlist").drag_to(
            page.locator("#playlist-title")
        )
        # Many tracks that become fewer while the page shows them: it goes to the last page.
        more = [entry(f"more {i}.mp3", rng.standard_normal(16)) for i in range(60)]
        library.put(more)
        show()
        focused = "document.activeElement.id"
        page.locator("#next").press("Enter")
        until(page, "document.getElementById('page-of').textContent.startsWith('26–50 of ')")
        assert page.evaluate(focused) == "next"
        library.remove(more[:30])
        page.locator("#next").press("Enter")
        until(page, "document.getElementById('page-of').textContent === '26–38 of 38'")
        assert rows.count() == 13
        assert page.evaluate(focused) == "previous"
        page.keyboard.press("Enter")
        until(page, "document.getElementById('page-of').textContent === '1–25 of 38'")
        assert page.evaluate(focused) == "next"
        assert page.title() == "Library – Genrescope"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        context.close()
    assert not problems


def test_it_works_by_the_keyboard_alone(opened: Any, music: Path) -> None:
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.className") == "skip"
    for _ in range(3):
        opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")  # the link to the library
    opened.locator("#tracks tbody tr").first.wait_for()
    opened.locator("#legend button").first.wait_for()
    opened.locator("#map").focus()
    opened.keyboard.press("ArrowRight")
    opened.locator("#map-card .name").wait_for()
    opened.keyboard.press("Enter")
    until(opened, "document.getElementById('audio').currentTime > 0")


@pytest.mark.slow
@pytest.mark.shared
def test_real_music_on_a_phone_in_the_dark_in_german_by_the_keyboard(
    browser: Any, shared: Path, tmp_path: Path
) -> None:
    """All of the page: a song, the map, corrections, likes, and a playlist."""
    import genrescope
    from genrescope.library.scan import scan

    songs, place = tmp_path / "music", str(tmp_path / "library")
    songs.mkdir()
    for genre in ("classical", "jazz", "metal", "reggae"):
        for file in sorted((shared / f"data/gtzan-audio/{genre}").glob("*.flac"))[:2]:
            shutil.copy(file, songs)
    scan([songs], library=place)
    song = songs / "jazz.00000.flac"
    expected = genrescope.load().predict(song).genre
    with running(library=place) as address:
        phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
        context = new_context(browser, locale="de-DE", accept_downloads=True, **phone)
        page, problems = context.new_page(), list[str]()
        page.on("console", lambda message: _note(message, problems))
        page.goto(address)
        page.wait_for_selector("body[data-ready]")

        def press(selector: str, *keys: str) -> None:
            """Press keys on an element, which Tab has to reach."""
            for back in ("Tab", "Shift+Tab"):
                for _ in range(150):
                    if page.evaluate("s => document.activeElement.matches(s)", selector):
                        for key in keys:
                            page.keyboard.press(key)
                        return
                    page.keyboard.press(back)
            raise AssertionError(f"{selector} is not reached by Tab")

        with page.expect_file_chooser() as chooser:
            press("#files", "Enter")
        chooser.value.set_files(song)
        finished(page)
        assert page.locator(".verdict").inner_text().startswith(str(expected))
        press(".strip", "Enter", "ArrowRight")
        until(page, "document.getElementById('audio').currentTime > 5")
        press("#player-toggle", "Enter")
        until(page, "document.getElementById('audio').paused")
        press("nav a[href='#library']", "Enter")
        page.locator("#legend button").first.wait_for()
        press("#map", "ArrowRight")
        press("#map-card > button:last-child", "Enter")
        page.locator("#recommended li").nth(3).wait_for()
        press("#search", *"metal")
        until(page, "document.querySelectorAll('#tracks tbody tr').length === 2")
        press("#select-page", "Space")
        press("#bulk-genre", *"rock")
        press("#bulk-apply", "Enter")
        until(page, "document.querySelectorAll('#tracks .was').length === 2")
        press("tr:first-child [data-kind=like]", "Space")
        press("#recommend", "Enter")
        page.locator("#recommended small").first.wait_for()
        press("#bulk-none", "Enter")
        for row in (1, 2):
            press(f"#tracks tbody tr:nth-child({row}) input", "Space")
        press("#bulk-between", "Enter")
        until(page, "document.querySelectorAll('#playlist li').length > 2")
        names = page.locator("#playlist .name").all_inner_texts()
        press("#playlist li:nth-child(2) [data-up]", "Enter")
        moved = page.locator("#playlist .name").all_inner_texts()
        assert moved[:2] == names[1::-1]
        with page.expect_download() as download:
            press("#export", "Enter")
        text = Path(download.value.path()).read_text(encoding="utf-8")
        assert [line.partition(",")[2] for line in text.splitlines()[1::2]] == moved
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        context.close()
    assert not problems


def test_a_report_of_the_laboratory_is_opened_by_the_keyboard(opened: Any) -> None:
    # What fails is said with its reason, and can be tried again.
    failure = {"status": 500, "json": {"detail": "an error of the service, which is in its log"}}
    for name in ("models", "runs"):
        opened.route(f"**/v1/{name}", lambda route: route.fulfill(**failure))
    opened.goto(opened.url.partition("#")[0] + "#laboratory")
    opened.reload()
    for name, place in (("models", "#start-problem"), ("runs", "#runs")):
        alert = opened.locator(f"{place} [role=alert]")
        alert.get_by_text("an error of the service").wait_for()
        opened.unroute(f"**/v1/{name}")
        alert.get_by_role("button", name="Try again").press("Enter")
        alert.wait_for(state="detached")
    opened.wait_for_selector("body[data-ready]")
    link = opened.locator("#runs a").nth(1)
    link.wait_for()
    opened.locator("#comparison td").first.wait_for()
    assert "mfcc" in opened.locator("#runs").inner_text()
    assert opened.locator("#comparison td").first.inner_text().startswith("kth")
    link.focus()
    with opened.context.expect_page() as report:
        opened.keyboard.press("Enter")
    assert report.value.locator("h1").inner_text() == "70 %"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser: Any, address: str, music: Path, scheme: str) -> None:
    if not AXE.exists():
        pytest.skip(f"axe-core is not installed: npm install --prefix {sys.prefix}/npm axe-core")
    phone = {"viewport": {"width": 390, "height": 800}} if scheme == "dark" else {}
    context = new_context(browser, color_scheme=scheme, locale="de-DE", bypass_csp=True, **phone)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    assert page.locator("h1").first.inner_text() == "Wonach klingt es?"
    drop(page, music / "walking-bass.flac")
    finished(page)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for view in ("listen", "library", "laboratory"):
        page.click(f"nav a[href='#{view}']")
        if view == "laboratory":
            page.locator("#comparison td").first.wait_for()
            page.locator("#runs a").first.wait_for()
        page.wait_for_timeout(300)
        moving = "a => a.playState === 'running' && a.effect.getComputedTiming().endTime < Infinity"
        until(page, f"!document.getAnimations().some({moving})")
        found = page.evaluate("axe.run()")["violations"]
        serious = [
            (each["id"], each["nodes"][0]["html"])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert not serious, (view, serious)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    context.close()
