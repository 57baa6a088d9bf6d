"""Pictures of the page of `genrescope serve` for the documentation, on a folder of real music.

    python tools/page_pictures.py ~/Music docs

It scans the folder into a library of its own, serves it, and takes pictures of the page in
Chromium: the start, a song and the library, on a desktop and on a phone, light and dark.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@contextmanager
def served(music: Path, folder: Path) -> Iterator[str]:
    """The address of a service whose library is that folder of music."""
    program = [sys.executable, "-m", "genrescope"]
    library = str(folder / "library")
    scan = subprocess.run([*program, "scan", str(music), "--library", library], check=False)
    if scan.returncode > 1:  # 1: some files could not be read
        raise SystemExit(scan.returncode)
    command = [*program, "serve", "--port", "0", "--library", library]
    server = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, "XDG_DATA_HOME": str(folder)}
    )
    try:
        address = server.stderr.readline().split()[0]  # type: ignore[union-attr]
        requests.get(f"{address}/v1/map", timeout=120).raise_for_status()
        yield address
    finally:
        server.terminate()
        server.wait(60)


def song(page: Any, file: Path) -> None:
    """A song that was classified and is played."""
    page.set_input_files("#files", file)
    page.wait_for_selector("article[aria-busy=false]", timeout=60_000)
    box = page.locator(".strip").bounding_box()
    page.locator(".strip").click(position={"x": box["width"] * 0.4, "y": 30})
    page.wait_for_timeout(700)
    page.click("#player-toggle")
    page.mouse.move(1, 1)


def library(page: Any) -> None:
    """The library with likes, recommendations, selected tracks and a playlist."""
    page.click("nav a[href='#library']")
    rows = page.locator("#tracks tbody tr")
    rows.first.wait_for()
    page.locator("#legend button").first.wait_for()
    for row, kind in ((1, "like"), (4, "like"), (6, "dislike")):
        rows.nth(row).locator(f"[data-kind={kind}]").click()
    page.click("#recommend")
    page.locator("#recommended li").first.wait_for()
    for row in (0, 3):
        rows.nth(row).locator("input[type=checkbox]").check()
    page.click("#bulk-between")
    page.locator("#playlist li").first.wait_for()
    page.evaluate("scrollTo(0, 0)")
    page.mouse.move(1, 1)


def main() -> None:
    """Serve, and take the pictures."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("music", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--song", type=Path, help="the song to classify; by default the first one")
    options = parser.parse_args()
    first = options.song or min(each for each in options.music.rglob("*") if each.is_file())
    with (
        tempfile.TemporaryDirectory() as folder,
        served(options.music, Path(folder)) as address,
        sync_playwright() as started,
    ):
        flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        chromium = started.chromium.launch(executable_path=shutil.which("chromium"), args=flags)

        def take(page: Any, name: str) -> None:
            page.wait_for_timeout(500)
            with Image.open(io.BytesIO(page.screenshot())) as image:
                image.save(options.target / f"service-{name}.webp", quality=88, method=6)

        for size, (width, height) in SIZES.items():
            for scheme in ("light", "dark"):
                context = chromium.new_context(
                    locale="en-GB",
                    viewport={"width": width, "height": height},
                    device_scale_factor=2 if size == "phone" else 1,
                    has_touch=size == "phone",
                    color_scheme=scheme,
                )
                page = context.new_page()
                page.goto(address)
                page.wait_for_selector("body[data-ready]")
                take(page, f"start-{size}-{scheme}")
                song(page, first)
                take(page, f"song-{size}-{scheme}")
                library(page)
                take(page, f"library-{size}-{scheme}")
                if size == "phone":
                    page.locator("#filters").scroll_into_view_if_needed()
                    page.evaluate("document.getElementById('filters').scrollIntoView()")
                    take(page, f"table-{size}-{scheme}")
                context.close()
        chromium.close()


if __name__ == "__main__":
    main()
