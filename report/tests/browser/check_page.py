"""Opens a report in headless Chromium and uses it as a person would: reads the figures, zooms, pans, hovers, searches.

usage: check_page.py PAGE.html REPORT.json
"""

import json
import pathlib
import sys

from webdriver import Browser

VIEW = "const c = document.getElementById('timeline'); return [Number(c.dataset.start), Number(c.dataset.span)]"
SETTLED = "requestAnimationFrame(() => requestAnimationFrame(arguments[arguments.length - 1]))"


def main():
    page, report_file = sys.argv[1:]
    report = json.loads(pathlib.Path(report_file).read_text())
    with Browser() as browser:
        browser.open(pathlib.Path(page).resolve().as_uri())
        browser.wait_for("return document.body.dataset.loaded")
        browser.run_async(SETTLED)
        figures(browser, report)
        zoom_and_pan(browser)
        keyboard(browser)
        touch(browser)
        hover(browser)
        search(browser, report)
        links(browser)
        sorting(browser)
        flames(browser, report)
        theme(browser)
        errors = browser.console_errors()
        assert not errors, errors
    print("the page does what it should")


def view(browser):
    browser.run_async(SETTLED)
    return browser.run(VIEW)


def figures(browser, report):
    assert browser.text("#verdict h1") == report["verdict"]["line"]
    utilisation = report["gils"][0]["figures"]["utilisation"] * 100
    shown = browser.text("[data-figure=utilisation]")
    assert abs(float(shown.split()[0]) - utilisation) < 0.06, (shown, utilisation)
    threads = report["sessions"][0]["gils"][0]["threads"]
    rows = browser.run("return [...document.querySelectorAll('#holds tbody tr')].map(row => [row.cells[0].textContent, row.cells[3].textContent])")
    assert {name: int(count.replace(",", "")) for name, count in rows} == {one["name"]: one["holds"]["count"] for one in threads}
    assert browser.run("return getComputedStyle(document.getElementById('plain')).display") == "none"


def flames(browser, report):
    gil = report["sessions"][0]["gils"][0]
    held = sum(at["holds"]["total_ns"] for at in gil["functions"]["at"])
    labels = "return [...document.querySelectorAll('.flames.hold g')].map(bar => bar.getAttribute('aria-label'))"
    whole, *rest = browser.run(labels)
    assert whole.startswith("all threads: ") and "100 %" in whole, whole
    assert held == sum(one["holds"]["total_ns"] for one in gil["threads"]), held
    assert any(label.startswith("metrics: ") for label in rest), rest
    browser.run("[...document.querySelectorAll('.flames.hold g')].find(bar => bar.getAttribute('aria-label').startsWith('metrics: ')).dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter'}))")
    part = browser.run(labels)
    # What it was in when tracing ended is not known.
    assert part[0] == whole and len(part) in (3, 4) and not any("worker" in label for label in part), part
    browser.run("document.querySelector('.flames.hold g').dispatchEvent(new MouseEvent('click', {bubbles: true}))")
    assert browser.run(labels) == [whole, *rest]
    rows = browser.run("return [...document.querySelectorAll('#functions tbody th')].map(cell => cell.textContent)")
    assert {name for name in rows if name != "(not known)"} == {f"{one['function']} (app.py:{one['line']})" for one in gil["functions"]["places"]}, rows


def box(browser):
    return browser.run(
        "const c = document.getElementById('timeline'); c.scrollIntoView({block: 'center'}); const b = c.getBoundingClientRect();"
        "return {x: Math.round(b.x), y: Math.round(Math.max(b.y, 0)), width: Math.round(b.width), height: Math.round(b.height)}"
    )


def zoom_and_pan(browser):
    start, everything = view(browser)
    assert start == 0
    at = box(browser)
    x, y = at["x"] + at["width"] // 4, at["y"] + 60
    for _ in range(5):
        browser.wheel(x, y, -240)
    start, span = view(browser)
    assert span < everything / 8, (span, everything)
    # What was under the pointer still is.
    under = start + span / 4
    assert abs(under - everything / 4) < everything * 0.01, (under, everything / 4)
    browser.mouse(
        {"type": "pointerMove", "x": x, "y": y, "duration": 0},
        {"type": "pointerDown", "button": 0},
        {"type": "pointerMove", "x": x + 100, "y": y, "duration": 50},
        {"type": "pointerUp", "button": 0},
    )
    panned, same = view(browser)
    assert abs(same - span) < 1
    assert abs((start - panned) - 100 / at["width"] * span) < span * 0.02, (start, panned, span)
    browser.click("#zoom-all")
    assert view(browser) == [0, everything]


def press(browser, keys):
    browser.run("document.getElementById('timeline').focus()")
    browser.act({"type": "key", "id": "keyboard", "actions": [step for key in keys for step in ({"type": "keyDown", "value": key}, {"type": "keyUp", "value": key})]})


def keyboard(browser):
    _, everything = view(browser)
    press(browser, "+++")
    start, span = view(browser)
    assert abs(span - everything * 0.216) < 2
    press(browser, "\ue014")  # right
    moved, _ = view(browser)
    assert moved > start
    press(browser, "0\ue015n\ue007")  # all, first thread, its first event, zoom to it
    _, span = view(browser)
    assert span < everything / 50, span
    assert browser.text("#announce"), "a screen reader hears what was found"
    press(browser, "0")


def touch(browser):
    _, everything = view(browser)
    at = box(browser)
    middle, y = at["x"] + at["width"] // 2, at["y"] + 60

    def finger(name, from_x, to_x):
        return {
            "type": "pointer", "id": name, "parameters": {"pointerType": "touch"},
            "actions": [
                {"type": "pointerMove", "x": from_x, "y": y, "duration": 0}, {"type": "pointerDown", "button": 0},
                {"type": "pointerMove", "x": to_x, "y": y, "duration": 100}, {"type": "pointerUp", "button": 0},
            ],
        }

    browser.act(finger("one", middle - 50, middle - 200), finger("two", middle + 50, middle + 200))
    _, span = view(browser)
    assert abs(span - everything / 4) < everything * 0.05, (span, everything)
    press(browser, "0")


def hover(browser):
    browser.run("document.querySelector('.jump').click()")
    view(browser)
    at = box(browser)
    # The longest hold: in the middle of the view, in the upper half of the lane that is chosen.
    row = browser.run(
        "const one = document.querySelector('#lane-names [aria-current=true]').getBoundingClientRect(); return [one.y, one.height]"
    )
    browser.mouse({"type": "pointerMove", "x": at["x"] + at["width"] // 2, "y": round(row[0] + row[1] / 4), "duration": 0})
    tooltip = browser.wait_for("const t = document.getElementById('tooltip'); return !t.hidden && t.textContent")
    assert "held the GIL" in tooltip, tooltip
    assert "waiting during it" in tooltip or "nobody waited" in tooltip, tooltip
    press(browser, "0")


def search(browser, report):
    name = report["sessions"][0]["gils"][0]["threads"][0]["name"]
    browser.type("#search", name)
    names = browser.run("return [...document.querySelectorAll('#lane-names li')].map(one => one.textContent)")
    assert names and all(name in one for one in names), names
    browser.run("const s = document.getElementById('search'); s.value = ''; s.dispatchEvent(new Event('input'))")


def links(browser):
    browser.run("location.hash = 't=1000000,5000000'")
    browser.wait_for("return document.getElementById('timeline').dataset.span === '5000000'")
    assert view(browser) == [1000000, 5000000]
    press(browser, "-")
    browser.wait_for("return !location.hash.includes(',5000000')")
    press(browser, "0")


def sorting(browser):
    counts = "return [...document.querySelectorAll('#holds tbody tr')].map(row => Number(row.cells[3].textContent.replaceAll(',', '')))"
    browser.click("#holds thead th:nth-child(4) button")
    found = browser.run(counts)
    assert found == sorted(found, reverse=True)
    browser.click("#holds thead th:nth-child(4) button")
    found = browser.run(counts)
    assert found == sorted(found)


def theme(browser):
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = browser.run(ground)
    browser.click("#theme")
    assert browser.run(ground) != light


main()
