"""Makes the pictures of docs/report.md: the page at three zooms in light and dark, and the text report in colour.

usage: screenshots.py PAGE.html REPORT.txt FOLDER      (REPORT.txt with its colours)
"""

import html
import pathlib
import re
import sys
import tempfile

from webdriver import Browser

SETTLED = "requestAnimationFrame(() => requestAnimationFrame(arguments[arguments.length - 1]))"
COLORS = {"1": "font-weight:bold", "2": "color:#8b98a8", "31": "color:#ff9a61", "34": "color:#79bdff", "1;31": "font-weight:bold;color:#ff8f6b",
          "1;32": "font-weight:bold;color:#58c9a0", "1;33": "font-weight:bold;color:#f0b94a"}


def main():
    page, text, folder = sys.argv[1:]
    folder = pathlib.Path(folder)
    for theme in ("light", "dark"):
        dark = theme == "dark"
        with Browser(width=1280, height=1860, dark=dark) as browser:
            browser.open(pathlib.Path(page).resolve().as_uri())
            browser.wait_for("return document.body.dataset.loaded")
            shoot(browser, folder / f"report-{theme}.png")
        with Browser(width=1280, height=1000, dark=dark) as browser:
            browser.open(pathlib.Path(page).resolve().as_uri())
            browser.wait_for("return document.body.dataset.loaded")
            # The longest hold and what it does to everybody, then its end, event by event.
            browser.run("document.querySelectorAll('.jump')[0].click()")
            shoot(browser, folder / f"report-{theme}-hold.png")
            browser.run("const { start, duration } = document.querySelector('.jump').dataset; location.hash = `t=${Number(start) + Number(duration) - 15e6},60000000`")
            browser.wait_for("return document.getElementById('timeline').dataset.span < 100e6")
            hover(browser)
            shoot(browser, folder / f"report-{theme}-events.png")
    terminal(text, folder / "report-text.png")


def hover(browser):
    """Puts the pointer on a wait in the middle of the picture."""
    at = browser.run("const b = document.getElementById('timeline').getBoundingClientRect(); return [b.x + b.width * 0.1, b.y + 22 + 24 * 5.75]")
    browser.mouse({"type": "pointerMove", "x": round(at[0]), "y": round(at[1]), "duration": 0})


def shoot(browser, path):
    browser.run_async("setTimeout(arguments[arguments.length - 1], 250)")
    browser.run_async(SETTLED)
    browser.screenshot(path)


def terminal(text, path):
    lines = html.escape(pathlib.Path(text).read_text())
    spans = re.sub(r"\x1b\[([\d;]+)m", lambda found: "</span>" if found[1] == "0" else f'<span style="{COLORS[found[1]]}">', lines)
    style = "margin:0;padding:18px 22px;background:#12161c;color:#e6eaf0;font:14px/1.38 'DejaVu Sans Mono',monospace;width:max-content"
    with tempfile.NamedTemporaryFile("w", suffix=".html") as file:
        file.write(f'<!doctype html><meta charset="utf-8"><body style="margin:0;background:#12161c"><pre style="{style}">{spans}</pre>')
        file.flush()
        # A line is 19.3 points high, and a window 143 points higher than what it shows.
        with Browser(width=930, height=round(lines.count("\n") * 19.32) + 36 + 143) as browser:
            browser.open(pathlib.Path(file.name).as_uri())
            browser.run_async(SETTLED)
            browser.screenshot(path)


main()
