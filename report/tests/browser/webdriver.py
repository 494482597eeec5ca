"""A browser driven over the W3C WebDriver protocol: chromedriver on loopback, and no package beside Python's own."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request

# Loopback: whatever proxy the environment names is none of its business.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One headless Chromium with one page; a context manager that ends both processes."""

    def __init__(self, width=1400, height=1000, dark=False, scale=1):
        chromium = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
        driver = shutil.which("chromedriver")
        if not chromium or not driver:
            raise FileNotFoundError("chromium and chromedriver are needed: apt-get install chromium chromium-driver")
        self.process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            if found := re.search(r"successfully on port (\d+)", line):
                self.base = f"http://127.0.0.1:{found[1]}"
                break
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width},{height}",
            f"--force-device-scale-factor={scale}", "--disable-background-networking", "--disable-component-update", "--no-first-run",
        ]
        if dark:
            arguments.append("--blink-settings=preferredColorScheme=0")
        wanted = {"browserName": "chrome", "goog:chromeOptions": {"binary": chromium, "args": arguments}, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.session = f"/session/{session['sessionId']}"
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self._call("DELETE", self.session)
        finally:
            self.process.terminate()
            self.process.wait()

    def _call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with DIRECT.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"]) from error

    def devtools(self, command, **parameters):
        return self._call("POST", f"{self.session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, url):
        self._call("POST", f"{self.session}/url", {"url": url})

    def run(self, script, *arguments):
        return self._call("POST", f"{self.session}/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script, *arguments):
        return self._call("POST", f"{self.session}/execute/async", {"script": script, "args": list(arguments)})

    def find(self, selector):
        return self._call("POST", f"{self.session}/element", {"using": "css selector", "value": selector})

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def click(self, selector):
        self._call("POST", f"{self.session}/element/{self.find(selector)[ELEMENT]}/click", {})

    def type(self, selector, text):
        self._call("POST", f"{self.session}/element/{self.find(selector)[ELEMENT]}/value", {"text": text})

    def act(self, *sources):
        self._call("POST", f"{self.session}/actions", {"actions": list(sources)})

    def mouse(self, *steps, kind="mouse", name="mouse"):
        self.act({"type": "pointer", "id": name, "parameters": {"pointerType": kind}, "actions": list(steps)})

    def wheel(self, x, y, delta):
        self.act({"type": "wheel", "id": "wheel", "actions": [{"type": "scroll", "x": x, "y": y, "deltaX": 0, "deltaY": delta, "duration": 0}]})

    def wait_for(self, script, seconds=10):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := self.run(script):
                return value
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}")

    def console_errors(self):
        log = self._call("POST", f"{self.session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"]

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self._call("GET", f"{self.session}/screenshot")))
