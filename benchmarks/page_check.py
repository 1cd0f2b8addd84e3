"""Look at a page as a reader's browser does: python -m benchmarks.page_check FOLDER/comparison.html

Headless Chromium (Debian's `chromium`) opens the page at 1280 and 390 pixels, light and dark. Nothing may be logged as an
error, nothing may be requested beside the page itself, the body may not scroll sideways and nothing may stick out of it, and
every picture must be drawn. Screenshots are kept beside the page in check/, to be looked at. Where there is no Chromium the
check says so and ends with 0: it has found nothing, good or bad.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")
SEEN = """JSON.stringify({
  page: document.documentElement.clientWidth,
  wide: document.documentElement.scrollWidth,
  out: [...document.querySelectorAll('body *')].filter(e => !e.closest('.box, svg') || e.matches('.box, svg'))
    .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
    .map(e => e.tagName + ' ' + e.textContent.slice(0, 30)),
  undrawn: [...document.images].filter(e => !e.complete || !e.naturalWidth).map(e => e.alt)
})"""


class Browser:
    """Chromium's developer protocol over two pipes: JSON messages, each ended by a zero byte."""

    def __init__(self, reads: int, writes: int):
        self.reads, self.writes, self.count, self.events, self.session = os.fdopen(reads, "rb"), writes, 0, [], None

    def call(self, method: str, **params: Any) -> dict:
        """Ask and wait for the answer; what happens meanwhile is kept in `events`."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        os.write(self.writes, json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0")
        while (said := self.next()).get("id") != self.count:
            self.events.append(said)
        if "error" in said:
            raise RuntimeError(f"{method}: {said['error']['message']}")
        return said["result"]

    def wait(self, method: str) -> None:
        """Until this has happened."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.next())

    def next(self) -> dict:
        """The next message."""
        text = bytearray()
        while (letter := self.reads.read(1)) != b"\0":
            if not letter:
                raise RuntimeError("the browser went away; run it by hand to see why")
            text += letter
        return json.loads(text)


@contextmanager
def opened(program: str) -> Iterator[Browser]:
    """A browser with one empty page; ended with the block."""
    (to_it, told), (heard, from_it) = os.pipe(), os.pipe()
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        line = [program, *flags, f"--user-data-dir={home}", "about:blank"]
        shell = ["bash", "-c", f'exec "$@" 3<&{to_it} 4>&{from_it}', "bash", *line]  # it reads 3 and writes 4
        process = subprocess.Popen(shell, pass_fds=(to_it, from_it), stderr=subprocess.DEVNULL)
        os.close(to_it), os.close(from_it)
        try:
            browser = Browser(heard, told)
            page = browser.call("Target.createTarget", url="about:blank")["targetId"]
            browser.session = browser.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
            yield browser
        finally:
            process.kill()
            process.wait()


def check(browser: Browser, page: Path, width: int, scheme: str, shot: Path) -> list[str]:
    """What is wrong with a page at one width in one scheme; leaves a screenshot."""
    for domain in ("Page", "Runtime", "Log", "Network"):
        browser.call(f"{domain}.enable")
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=width < 600)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.events.clear()
    browser.call("Page.navigate", url=page.resolve().as_uri())
    browser.wait("Page.loadEventFired")
    seen = json.loads(browser.call("Runtime.evaluate", expression=SEEN)["result"]["value"])
    picture = browser.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
    shot.write_bytes(base64.b64decode(picture))
    return [*wrong(seen), *errors(browser.events, page.resolve().as_uri())]


def wrong(seen: dict) -> list[str]:
    """Faults of the layout."""
    found = [f"{name} sticks out" for name in seen["out"]] + [f"picture not drawn: {alt}" for alt in seen["undrawn"]]
    wide = f"the body scrolls sideways: {seen['wide']} of {seen['page']} pixels"
    return found + ([wide] if seen["wide"] > seen["page"] else [])


def errors(events: list[dict], page: str) -> list[str]:
    """What the console was told, and what was requested beside the page."""
    found = []
    for event in events:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown" or (method == "Runtime.consoleAPICalled" and params["type"] == "error"):
            found.append(f"console: {json.dumps(params)[:200]}")
        if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            found.append(f"log: {params['entry']['text']}")
        if method == "Network.requestWillBeSent" and not params["request"]["url"].startswith((page, "data:")):
            found.append(f"requests {params['request']['url']}")
    return found


def main(arguments: list[str]) -> int:
    """Check a page; 1 where something is wrong with it."""
    if len(arguments) != 1 or not (page := Path(arguments[0])).is_file():
        print("error: which page? python -m benchmarks.page_check FOLDER/comparison.html", file=sys.stderr)
        return 2
    if not (program := next(filter(None, map(shutil.which, NAMES)), None)):
        print(f"skipped: none of {', '.join(NAMES)} is installed; on Debian: apt-get install chromium")
        return 0
    (folder := page.parent / "check").mkdir(exist_ok=True)
    found = []
    with opened(program) as browser:
        for width, scheme in product(WIDTHS, SCHEMES):
            faults = check(browser, page, width, scheme, shot := folder / f"{width}_{scheme}.png")
            print(f"{width} pixels, {scheme}: {'; '.join(faults) or 'nothing wrong'}; {shot}", flush=True)
            found += faults
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
