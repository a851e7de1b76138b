"""What other pages in the same browser can do: nothing. And what names of runs can do: nothing. In Chromium itself."""

from __future__ import annotations

import functools
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from client import Client

from poise.lab.server.lab import Lab
from poise.lab.server.serve import Server, running

ATTACK = """<!doctype html><title>hostile</title><iframe id=frame src="TARGET/"></iframe>
<img id=picture src="TARGET/static/icon.svg"><form id=form method=post action="TARGET/"><input name=a></form>
<script>
const found = {};
const tried = async (name, act) => { try { found[name] = await act(); } catch (error) { found[name] = "refused"; } };
const socket = (address) => new Promise((done) => {
  const one = new WebSocket(address);
  one.onopen = () => { one.send('{"op":"open","key":"a","figure":"powers","of":[],"state":{}}'); };
  one.onmessage = (event) => done("read " + event.data.length);
  one.onerror = () => done("refused");
});
addEventListener("load", async () => {
  for (const path of ["/", "/f/powers", "/runs", "/static/lab.js", "/enter?code=x"]) {
    await tried("cors " + path, async () =>
      (await (await fetch("TARGET" + path, {credentials: "include"})).text()).length);
    await tried("no-cors " + path, async () =>
      (await (await fetch("TARGET" + path, {mode: "no-cors", credentials: "include"})).text()).length || "opaque");
  }
  await tried("text/plain", async () => (await fetch("TARGET/", {method: "POST", body: "{}", mode: "no-cors",
    headers: {"content-type": "text/plain"}, credentials: "include"})).type);
  await tried("script", () => new Promise((done) => { const one = document.createElement("script");
    one.src = "TARGET/static/lab.js"; one.onload = () => done("ran"); one.onerror = () => done("refused");
    document.head.append(one); }));
  await tried("socket", () => socket("TARGET/ws".replace("http", "ws")));
  found.picture = document.getElementById("picture").naturalWidth;
  try { found.frame = document.getElementById("frame").contentDocument?.body?.innerText?.length ?? "none"; }
  catch { found.frame = "refused"; }
  document.title = JSON.stringify(found);
});
</script>"""


@pytest.fixture
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    assert found is not None  # the fixture `browser` has started it
    return found


@contextmanager
def site(text: str) -> Iterator[int]:
    """Serve one page on another port of this machine, as another program on it may."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(text.replace("OWN", str(self.server.server_port)).encode())

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as own:
        thread = threading.Thread(target=functools.partial(own.serve_forever, poll_interval=0.02))
        thread.start()
        try:
            yield own.server_port
        finally:
            own.shutdown()
            thread.join()


def entered(browser: Any, server: Server) -> Any:
    """Return a browser context that has the lab's cookie, as the reader's own browser does."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.address("/f/powers"))
    assert "grows faster" in page.inner_text("main")
    return context


def attacked(page: Any, address: str) -> dict[str, Any]:
    page.goto(address)
    page.wait_for_function("document.title.startsWith('{')", timeout=30_000)
    found: dict[str, Any] = json.loads(page.title())
    return found


HARMLESS = {"refused", "opaque", "none", 0}


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_page_of_another_program_reads_nothing(browser: Any, server: Server, name: str) -> None:
    context = entered(browser, server)
    with site(ATTACK.replace("TARGET", f"http://{name}:{server.port}")) as port:
        found = attacked(context.new_page(), f"http://{name}:{port}/")
    context.close()
    assert len(found) == 15
    assert {key: value for key, value in found.items() if value not in HARMLESS} == {}


def test_the_attack_reads_what_is_not_guarded(browser: Any) -> None:
    # The same page against a server that asks for nothing: here it must find something, or it proves nothing above.
    with site(ATTACK.replace("TARGET", "http://127.0.0.1:OWN")) as port:
        found = attacked(browser.new_page(), f"http://127.0.0.1:{port}/")
    assert found["cors /"] > 1000


def test_a_form_of_another_page_changes_nothing(browser: Any, server: Server) -> None:
    context = entered(browser, server)
    with site(ATTACK.replace("TARGET", f"http://127.0.0.1:{server.port}")) as port:
        page = context.new_page()
        attacked(page, f"http://127.0.0.1:{port}/")
        with page.expect_response(f"http://127.0.0.1:{server.port}/") as answer:
            page.evaluate("document.getElementById('form').submit()")
        assert answer.value.status == 403
    context.close()


def test_a_name_that_is_bound_to_this_machine_later_reads_nothing(browser: Any, server: Server, chromium: str) -> None:
    """Rebinding: evil.test serves a page, then names this machine; the browser takes both for one origin."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP evil.test 127.0.0.1"]
    kind = browser.browser_type
    with kind.launch(executable_path=chromium, args=flags) as started:
        context = started.new_context()
        # The cookie is given to that name too, which no browser would do: the name alone must be refused.
        context.add_cookies(
            [{"name": server.keys.name, "value": server.keys.value, "domain": "evil.test", "path": "/"}]
        )
        page = context.new_page()
        answer = page.goto(f"http://evil.test:{server.port}/")
        assert answer.status == 403
        read = page.evaluate("""async () => {
            const texts = [];
            for (const path of ["/", "/f/powers", "/runs", "/static/lab.js", "/enter?code=x"])
              texts.push([(await fetch(path)).status, (await (await fetch(path)).text()).slice(0, 8)]);
            return texts;
        }""")
        assert read == [[403, "Refused."]] * 5
        opened = page.evaluate("""() => new Promise((done) => {
            const one = new WebSocket(location.origin.replace("http", "ws") + "/ws");
            one.onopen = () => done("open"); one.onerror = () => done("refused");
        })""")
        assert opened == "refused"


# ---- names of runs and columns ----

SAID = "window.__ran=1"
SCRIPTS = [
    f"<script>{SAID}</script>", f"</script><script>{SAID}</script>", f"<img src=x onerror={SAID}>",
    f"<svg onload={SAID}>", f"<svg><script>{SAID}</script></svg>", f"\"><script>{SAID}</script>",
    f"'><img src=x onerror={SAID}>", f"javascript:{SAID}", f"[a](javascript:{SAID})",
    f"<a href=javascript:{SAID}>a</a>",
    f"<iframe srcdoc='<script>parent.{SAID}</script>'>", f"<body onload={SAID}>", f"<details open ontoggle={SAID}>",
    f"<input autofocus onfocus={SAID}>", f"<video><source onerror={SAID}>", f"<math><mi xlink:href=javascript:{SAID}>",
    f"{{{{ {SAID} }}}}", f"{{% raw %}}<script>{SAID}</script>", f"${{{SAID}}}", f"<!--><script>{SAID}</script>",
    f"<style>@import 'javascript:{SAID}'</style>", f"<link rel=stylesheet href=javascript:{SAID}>",
    "<base href=//evil.test>",
    f"<meta http-equiv=refresh content='0;url=javascript:{SAID}'>", f"\\u003cscript\\u003e{SAID}\\u003c/script\\u003e",
    f"&lt;script&gt;{SAID}&lt;/script&gt;", f"<scr\u0000ipt>{SAID}</script>", f"\u202e<script>{SAID}</script>",
    f"<ScRiPt >{SAID}</sCrIpT>", f"]]><script>{SAID}</script>", f"<template><script>{SAID}</script></template>",
    f"</textarea></title><script>{SAID}</script>",
]  # fmt: skip


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of logs whose names, columns and texts are scripts."""
    folder = tmp_path_factory.mktemp("named")
    for number, script in enumerate(SCRIPTS):
        name = "".join(letter for letter in script if letter not in "/\0")[:100]
        rows = [{"step": step, f"train_{script}": 2.0 / step, f"val_{script}": 3.0 / step} for step in (1, 2)]
        text = "\n".join(json.dumps(row) for row in rows)
        (folder / f"{number} {name}.jsonl").write_text(text + "\n", encoding="utf-8")
    return folder


def test_no_name_of_a_run_or_a_column_runs_as_a_script(browser: Any, named: Path) -> None:
    with running(Lab([str(named)], source="sample_shelf")) as server:
        client = Client(server)
        context = browser.new_context()
        context.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => console.error('policy: ' + e.blockedURI))"
        )
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda one: said.append(one.text) if one.type == "error" else None)
        page.on("dialog", lambda one: said.append("dialog"))
        page.on("pageerror", lambda one: said.append(str(one)))
        asked: list[str] = []
        page.on("request", lambda one: asked.append(one.url))
        page.goto(server.address("/runs"))
        ids = page.eval_on_selector_all("input[name=run]", "all => all.map(one => one.value)")
        assert len(ids) == len(SCRIPTS)
        paths = ["/runs", *(f"/runs/{id}" for id in ids), *(f"/compare/{ids[0]}/{id}" for id in ids[1:4])]
        for path in paths:
            page.goto(f"http://{client.host}{path}")
            if page.locator("poise-figure").count():
                page.wait_for_selector("poise-figure[data-ready=true]", timeout=30_000)
            assert page.evaluate("window.__ran") is None, path
            handlers = (
                "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(a => /^on/i.test(a.name))"
            )
            assert page.evaluate(f"{handlers}.length") == 0, path
            assert page.evaluate("[...document.links].every(a => a.protocol === 'http:' || a.protocol === 'blob:')"), (
                path
            )
        assert said == []
        assert all(address.startswith((f"http://{client.host}/", "data:", "blob:")) for address in asked)
        context.close()
