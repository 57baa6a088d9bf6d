"""Draw `docs/map.png`: the page that `genrescope map` makes of a folder of music, in a browser.

    python tools/map_picture.py MUSIC docs/map.png

The folder is scanned, its map drawn, and the page opened in Chromium with a track chosen: what is
seen there is the picture. Needs playwright (`pip install playwright`) and Chromium.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from genrescope.atomic import write_atomic
from genrescope.library.map import draw_map
from genrescope.library.map_page import write_page
from genrescope.library.scan import scan

WIDTH, HEIGHT = 1200, 720


def photograph(page: Path, music: Path) -> bytes:
    """The page as PNG, with a track chosen and the pointer on another one."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        shown = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        shown.goto(page.as_uri())
        shown.locator("#map").focus()
        shown.keyboard.press("ArrowRight")
        shown.keyboard.press("ArrowUp")
        shown.locator("#player").evaluate("player => player.load()")
        shown.locator("#map").evaluate("map => map.blur()")
        # Where the music of whoever draws it lies is nobody's business.
        shown.locator("#path").evaluate(
            "(path, music) => { path.textContent = path.textContent.replace(music, '~/Music'); }",
            str(music.resolve()),
        )
        box = shown.locator("#map").bounding_box()
        for x in range(int(box["x"] + box["width"] * 0.55), WIDTH, 5):
            shown.mouse.move(x, HEIGHT * 0.3)
            if shown.locator("#tip").is_visible():
                break
        shown.wait_for_timeout(1000)  # until the file's length is known
        png = shown.screenshot()
        chromium.close()
    return png


def main(music: Path, target: Path) -> None:
    """Scan, draw, and photograph."""
    with tempfile.TemporaryDirectory() as folder:
        library = scan([music], library=Path(folder, "library")).library
        page = Path(folder, "map.html")
        write_page(draw_map(library), page)
        write_atomic(target, photograph(page, music))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
