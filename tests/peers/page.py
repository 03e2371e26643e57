"""Headless Chromium drives the page of `pagoda serve`: streams, stops, edits, keys, errors, hostile texts, the map of the cache.

usage: page.py PAGODA [--model FOLDER] [--out FOLDER] [--page FILE]

Default model: the stories model of PAGODA_TEST_DATA. --out keeps screenshots; --page serves this file instead of the one that is
compiled in. Needs a Chromium (Debian: chromium); without one everything is skipped.
"""

import base64
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import websocket

import common
from serve_openai import CHAT, Server, fetch

HOSTILE = ("<img src=x onerror=window.hit=1><script>window.hit=1</script> [go](javascript:window.hit=1) [ok](https://example.com/a) "
           "**bold <b>b</b>** `<i>` ![x](https://example.com/x.png)\n\n```html\n<script>window.hit=1</script>\n```\n\n"
           "| a | b |\n|---|---|\n| <u>1</u> | 2 |\n\n- one\n  - two\n\n> quoted <svg onload=window.hit=1>\n")


class Browser:
    """Chromium over the DevTools protocol: one page at a time, its console and its requests on record."""

    def __init__(self, program):
        self.folder = tempfile.TemporaryDirectory()
        flags = ["--headless=new", "--remote-debugging-port=0", f"--user-data-dir={self.folder.name}", "--no-first-run", "--disable-gpu",
                 "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-allow-origins=*"] + (["--no-sandbox"] if os.geteuid() == 0 else [])
        self.process = subprocess.Popen([program, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            found = re.search(r"DevTools listening on (ws://\S+)", line)
            if found:
                break
        else:
            sys.exit("chromium did not start")
        self.socket = websocket.create_connection(found[1], timeout=60)
        self.number, self.session, self.problems, self.urls, self.handlers = 0, None, [], [], {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(domain + ".enable")

    def call(self, method, **params):
        self.number += 1
        number = self.number
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.take(answer)

    def take(self, event):
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"])[:600])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.problems.append(json.dumps(params["args"])[:600])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.urls.append(params["request"]["url"])
        elif method == "Fetch.requestPaused":
            path = params["request"]["url"].split("/", 3)[3]
            status, headers, body = self.handlers[path]
            self.number += 1  # whose answer is not waited for
            self.socket.send(json.dumps({"id": self.number, "sessionId": self.session, "method": "Fetch.fulfillRequest", "params": {
                "requestId": params["requestId"], "responseCode": status, "body": base64.b64encode(body.encode()).decode(),
                "responseHeaders": [{"name": name, "value": value} for name, value in headers.items()]}}))

    def intercept(self, handlers):
        """{path: (status, headers, body)} answered here instead of by the server."""
        self.handlers = handlers
        if handlers:
            self.call("Fetch.enable", patterns=[{"urlPattern": "*/" + path if path else "http://*:*/"} for path in handlers])
        else:
            self.call("Fetch.disable")

    def run(self, code):
        result = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{code}: {json.dumps(result['exceptionDetails'])[:400]}")
        return result["result"].get("value")

    def wait(self, code, seconds=60):
        """The first true value, or what it was at last."""
        end = time.monotonic() + seconds
        while True:
            value = self.run(code)
            if value or time.monotonic() > end:
                return value
            time.sleep(0.02)

    def open(self, url):
        self.call("Page.navigate", url=url)
        return self.wait("document.readyState === 'complete' && location.href !== 'about:blank' && !!document.getElementById('status')")

    def key(self, name, code=0, text="", modifiers=0):
        for kind in ["keyDown", "keyUp"]:
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, modifiers=modifiers,
                      **({"text": text} if text and kind == "keyDown" else {}))

    def write(self, text):
        self.call("Input.insertText", text=text)

    def size(self, width, height, scale=2, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=mobile)

    def dark(self, dark):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def picture(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        try:
            self.session = None
            self.call("Browser.close")
        except Exception:  # noqa: BLE001: it may be gone before it answers
            pass
        self.process.wait(30)
        self.folder.cleanup()


READY = "document.getElementById('status').textContent === 'ready'"
BUSY = "document.getElementById('composer').classList.contains('busy')"
TEXT = "[...document.querySelectorAll('.answer .text')].map(n => n.textContent).join('|')"


def settings(browser, **values):
    values = {name: str(value) for name, value in values.items()}
    browser.run(f"settings = {json.dumps(values)}; greet()")


def send(browser, text):
    browser.run("document.getElementById('new').click(); document.getElementById('prompt').focus()")
    browser.write(text)
    browser.key("Enter", 13, "\r")


def state(url, key=None):
    return json.loads(fetch(url + "/pagoda/state", headers={"Authorization": f"Bearer {key}"} if key else {})[1])


def served_page(file):
    """The file at `file` with the headers that the server would give it."""
    html = pathlib.Path(file).read_text()
    def digest(tag):
        inner = html.split(f"<{tag}>", 1)[1].split(f"</{tag}>", 1)[0]
        return base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
    policy = (f"default-src 'none'; script-src 'sha256-{digest('script')}'; style-src 'sha256-{digest('style')}'; connect-src 'self'; "
              "img-src data:; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'")
    return 200, {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": policy}, html


def plain_text(count, browser, url, out):
    count.check(browser.wait(READY), "ready", browser.run("document.getElementById('status').textContent"))
    count.check(browser.run("mode()") == "completion", "no chat template: plain text")
    settings(browser, temperature=0, max_tokens=120)
    send(browser, "Once upon a time")
    count.check(browser.wait(f"{BUSY} && {TEXT}.length > 40"), "text comes while the answer runs")
    count.check(browser.wait(f"!{BUSY}"), "the answer ends")
    body = json.dumps({"prompt": "Once upon a time", "max_tokens": 120, "temperature": 0}).encode()
    expected = json.loads(fetch(url + "/v1/completions", body, {"Content-Type": "application/json"})[1])["choices"][0]["text"]
    shown = browser.run(TEXT)
    count.check(shown == "Once upon a time" + expected, "the text is the API's", f"{shown!r} {expected!r}")
    count.check("tokens/s" in browser.run("document.querySelector('.stats').textContent"), "figures under the answer")
    count.check(browser.wait("latest.generated_tokens >= 240 && latest.running === 0"), "the live view counts")
    count.check(browser.wait("!owners.some(o => o > 0) && owners.some(o => o < 0)"), "free pages that are known stand apart")
    # Go on from where it was cut, then stop.
    settings(browser, temperature=0, max_tokens=40)
    browser.run("document.querySelector('[aria-label=\"Go on\"]').click()")
    count.check(browser.wait(f"!{BUSY} && {TEXT}.length > {len(shown) + 20}") and browser.run(TEXT).startswith(shown), "goes on")


def stopping(count, browser, url):
    for way in ["button", "Escape"]:
        settings(browser, temperature=1, max_tokens=400)
        send(browser, "The")
        count.check(browser.wait(f"{BUSY} && {TEXT}.length > 10"), "a long answer runs")
        if way == "button":
            browser.run("document.getElementById('send').click()")
        else:
            browser.key("Escape", 27)
        count.check(browser.wait(f"!{BUSY}", 10), f"stops by {way}")
        ended = browser.run("document.querySelector('.stats').textContent")
        count.check("stopped" in ended or "cut" in ended, f"says that it stopped ({way})", ended)
        end = time.monotonic() + 20
        while state(url)["running"] and time.monotonic() < end:
            time.sleep(0.05)
        count.check(state(url)["running"] == 0, "the engine stopped too", state(url))


def several(count, browser):
    settings(browser, temperature=1, max_tokens=48, n=3)
    send(browser, "Once upon a time")
    count.check(browser.wait(f"!{BUSY} && document.querySelectorAll('.answer').length === 3"), "three answers")
    texts = browser.run("[...document.querySelectorAll('.answer .text')].map(n => n.textContent)")
    count.check(len(set(texts)) == 3 and all(len(text) > 30 for text in texts), "each its own", texts)


def editing(count, browser):
    settings(browser, temperature=0, max_tokens=8)
    send(browser, "Lily")
    browser.wait(f"!{BUSY} && {TEXT}.length > 8")
    browser.run("document.querySelector('[aria-label=\"Edit the beginning\"]').click()")
    browser.wait("document.activeElement.matches('.editor textarea')")
    browser.write(" and Tom")
    browser.key("Enter", 13, "\r")
    count.check(browser.wait(f"!{BUSY} && {TEXT}.startsWith('Lily and Tom ')"), "edited", browser.run(TEXT))
    before = browser.run(TEXT)
    browser.run("document.querySelector('[aria-label=Again]').click()")
    count.check(browser.wait(f"!{BUSY} && {TEXT}.length > 12") and browser.run(TEXT) == before, "once more the same (greedy)")


def mistakes(count, browser):
    settings(browser, temperature=-1)
    send(browser, "Once")
    text = browser.wait("document.querySelector('[role=alert]')?.textContent")
    count.check(text and "[temperature]" in text, "the server's words for an error", text)
    count.check(browser.wait(f"!{BUSY} && document.getElementById('turns').textContent.startsWith('Once')"), "what failed is still there")
    browser.problems = [p for p in browser.problems if "400" not in p]  # the browser's own line for the status


def hostile(count, browser):
    settings(browser, temperature=0, max_tokens=4)
    send(browser, HOSTILE)
    count.check(browser.wait(f"!{BUSY} && {TEXT}.includes('<img src=x onerror')"), "a hostile prompt is text")
    chunks = [HOSTILE[i:i + 7] for i in range(0, len(HOSTILE), 7)]
    lines = [json.dumps({"choices": [{"index": 0, "delta": {"content": chunk}}]}) for chunk in chunks]
    body = "".join(f"data: {line}\n\n" for line in lines) + "data: [DONE]\n\n"
    browser.intercept({"v1/chat/completions": (200, {"Content-Type": "text/event-stream"}, body)})
    browser.run("model.chat = true")
    settings(browser, mode="chat")
    send(browser, HOSTILE)
    count.check(browser.wait(f"!{BUSY} && {TEXT}.includes('<svg onload')"), "a hostile answer is text", browser.run(TEXT))
    facts = browser.run("""({hit: window.hit, found: [...document.querySelectorAll('#turns img, #turns script, #turns b, #turns i, #turns u')].length,
        links: [...document.querySelectorAll('#turns a')].map(a => a.href), strong: document.querySelector('.text strong')?.textContent,
        code: document.querySelector('.text .code code')?.textContent, cells: document.querySelectorAll('.text td').length,
        nested: !!document.querySelector('.text li li'), quote: document.querySelector('.text blockquote')?.textContent,
        bubble: document.querySelector('.bubble').textContent})""")
    count.check(facts.get("hit") is None and facts["found"] == 0, "nothing of it ran", facts)
    count.check(all(link.startswith("https://example.com/") for link in facts["links"]) and len(facts["links"]) == 2, "links", facts)
    count.check(facts["strong"] == "bold <b>b</b>" and facts["code"] == "<script>window.hit=1</script>" and facts["cells"] == 2
                and facts["nested"] and facts["quote"].startswith("quoted <svg"), "markup", facts)
    count.check(facts["bubble"] == HOSTILE, "the prompt as it was written", facts)
    browser.intercept({})


def large_cache(count, browser):
    """A cache of 100,000 pages, all different: what a whole state and a change of 1,000 pages cost the page."""
    whole, change, owner, reference, height = browser.run("""(() => {
        const runs = [];
        for (let i = 0; i < 100000; ++i) runs.push(i, 1, i % 3 ? 1 + i % 64 : -1, i % 3 ? 1 + i % 2 : 0);
        const cost = (work) => { const t = performance.now(); work(); return performance.now() - t; };
        const first = cost(() => applyRuns({ pages: 100000, whole: true, runs }));
        const some = [];
        for (let i = 0; i < 1000; ++i) some.push(i * 97, 1, 7, 1);
        const next = cost(() => applyRuns({ pages: 100000, whole: false, runs: some }));
        return [first, next, owners[97], refs[98], map.height / devicePixelRatio];
    })()""")
    print(f"100,000 pages: a whole state {whole:.1f} ms, a change of 1,000 pages {change:.1f} ms")
    count.check(owner == 7 and reference == 1 and height < 700, "a large cache", [owner, reference, height])


def looking(count, browser, url):
    """The map by mouse and keys, its request lit up, and the view of a telephone."""
    pool, work = load(url, seconds=3)
    browser.wait("rows.length > 3 && latest.running > 3")
    count.check(browser.wait("owners.some(o => o > 0) && new Set(owners).size > 3"), "the map shows the pages of each request")
    count.check(browser.wait("latest.cache.shared > 0 && owners.some((o, i) => o > 0 && refs[i] > 1)"), "shared pages are marked")
    browser.run("document.querySelector('#open button').click()")
    count.check(browser.run("lit > 0 && document.querySelector('#open button').getAttribute('aria-pressed') === 'true'"), "a request is lit")
    browser.run("light(0); map.focus()")
    for key in ["ArrowRight", "ArrowDown", "End", "Home"]:
        browser.key(key)
    text = browser.run("document.getElementById('tip').textContent")
    count.check(text.startswith("Page 0: "), "arrow keys go from page to page", text)
    browser.size(390, 844, 1, True)
    seen = "[getComputedStyle(document.querySelector('main')).display !== 'none', getComputedStyle(document.getElementById('live')).display !== 'none']"
    count.check(browser.wait(f"String({seen}) === 'true,false'"), "narrow: the chat", browser.run(seen))
    browser.run("document.getElementById('tab-live').click()")
    count.check(browser.wait(f"String({seen}) === 'false,true' && {READY}"), "narrow: the live view", browser.run(seen))
    count.check(browser.run("document.documentElement.scrollWidth <= 390"), "nothing is wider than a telephone")
    browser.size(1360, 860, 1)
    browser.run("showTab('chat')")
    for future in work:
        future.cancel()
    pool.shutdown()


def names(count, browser):
    """Everything that can be used has a name for those who do not see it."""
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "textbox", "spinbutton", "radio", "link", "image", "dialog"}
    nameless = [node["role"]["value"] for node in nodes
                if not node.get("ignored") and node.get("role", {}).get("value") in roles and not node.get("name", {}).get("value")]
    count.check(not nameless, "names", nameless)


def load(url, key=None, seconds=20):
    """Traffic to look at: many stories that begin alike, some that do not."""
    shared = "Once upon a time, in a big forest, there lived a rhinoceros named Roxy. Roxy loved to climb. One day, "
    def one(i):
        body = {"prompt": shared + ["she", "he", "a bird", "the sun"][i % 4] if i % 3 else ["The", "Tom", "A dog"][i % 3], "max_tokens": 60 + 37 * (i % 5),
                "temperature": 1, "seed": i, "n": 1 + (i % 7 == 0)}
        fetch(url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    pool = concurrent.futures.ThreadPoolExecutor(12)
    return pool, [pool.submit(one, i) for i in range(seconds * 40)]


def pictures(browser, url, out):
    pool, work = load(url)
    browser.size(1360, 860)
    settings(browser, temperature=0, max_tokens=230)
    time.sleep(5)
    send(browser, "Once upon a time")
    browser.wait(f"!{BUSY}")
    settings(browser, temperature=1, max_tokens=120, n=2, seed=3)
    time.sleep(4)
    for name, dark in [("light", False), ("dark", True)]:
        browser.dark(dark)
        time.sleep(0.7)
        browser.picture(out / f"page_{name}.png")
    browser.run("document.getElementById('prompt').focus()")
    send(browser, "Tom and Lily went to the park")
    time.sleep(0.4)
    browser.picture(out / "page_several.png")
    browser.wait(f"!{BUSY}")
    browser.run("document.getElementById('open-settings').click()")
    time.sleep(0.3)
    browser.picture(out / "page_settings.png")
    browser.run("document.getElementById('settings').close()")
    browser.dark(False)
    browser.size(390, 844, 2, True)
    time.sleep(0.7)
    browser.picture(out / "page_narrow.png")
    browser.run("showTab('live')")
    browser.wait("latest.running > 0", 10)
    time.sleep(2)
    browser.picture(out / "page_narrow_live.png")
    browser.run("showTab('chat'); turns = []; layout()")
    time.sleep(0.3)
    browser.picture(out / "page_narrow_empty.png")
    browser.size(1360, 860)
    for future in work:
        future.cancel()
    pool.shutdown()


def option(name):
    return pathlib.Path(sys.argv[sys.argv.index(name) + 1]) if name in sys.argv else None


def main():
    count = common.Count()
    data = common.data_folder()
    model = option("--model") or data and data / "checkpoints/llama2c/hf"
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not program or not model or not model.is_dir():
        count.skip("page", "needs a Chromium" if not program else "needs PAGODA_TEST_DATA", 1)
        count.finish()
    out, file = option("--out"), option("--page")
    browser = Browser(program)
    browser.size(1360, 860, 1)
    if file:
        browser.intercept({"": served_page(file)})
        normal, browser.intercept = browser.intercept, lambda handlers: normal({"": served_page(file), **handlers})
    server = Server(common.binary(), str(model), "--served-model-name", "stories", "--kv-cache-memory", "4MiB")
    try:
        browser.open(server.url)
        plain_text(count, browser, server.url, out)
        stopping(count, browser, server.url)
        several(count, browser)
        editing(count, browser)
        mistakes(count, browser)
        looking(count, browser, server.url)
        hostile(count, browser)
        names(count, browser)
        if out:
            out.mkdir(parents=True, exist_ok=True)
            browser.open(server.url)
            browser.wait(READY)
            pictures(browser, server.url, out)
        large_cache(count, browser)
        origins = {"/".join(u.split("/")[:3]) for u in browser.urls if not u.startswith(("data:", "about:", "chrome"))}
        count.check(origins == {server.url}, "no other origin", origins)
        count.check(not browser.problems, "a quiet console", browser.problems[:5])
        begun = time.monotonic()
        count.check(server.stop() == 0 and time.monotonic() - begun < 15, "who watches does not hold up the end")
        browser.problems.clear()

        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as template:
            template.write(CHAT)
            template.flush()
            server = Server(common.binary(), str(model), "--api-key", "secret", "--chat-template", template.name)
            browser.open(server.url)
            count.check(browser.wait("!document.getElementById('keybar').hidden"), "asks for the key")
            browser.run("document.getElementById('key').focus()")
            browser.write("secret")
            browser.key("Enter", 13, "\r")
            count.check(browser.wait(READY) and browser.run("mode()") == "chat", "the key is taken, a template means chat")
            count.check(browser.run("sessionStorage.getItem('pagoda.key') === 'secret' && !JSON.stringify(localStorage).includes('secret')"),
                        "the key stays in this tab")
            settings(browser, temperature=0, max_tokens=24, system="Once upon a time")
            send(browser, "there was a cat")
            count.check(browser.wait(f"!{BUSY} && {TEXT}.length > 20"), "a chat", browser.run(TEXT))
            asked = browser.run("JSON.stringify(messagesUpTo(turns[0]))")
            count.check(json.loads(asked)[0] == {"role": "system", "content": "Once upon a time"}, "the system prompt goes along", asked)
    finally:
        browser.close()
        server.stop()
    count.finish()


if __name__ == "__main__":
    main()
