"""The pages: what they say without JavaScript, and that an address leads to a page of ours or to none."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from client import Client

from poise.lab.server import pages


class Outline(HTMLParser):
    """The elements, ids and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def data_of(text: str) -> dict[str, object]:
    match = re.search(r'<script type="application/json" id="poise-page">(.*?)</script>', text)
    assert match is not None
    found: dict[str, object] = json.loads(match[1])
    return found


def run_ids(client: Client) -> list[str]:
    return re.findall(r'href="/runs/([a-z0-9]+)"', client.get("/runs").text)


def every_page(client: Client) -> list[str]:
    first, second = run_ids(client)
    return ["/", "/present", "/f/powers", "/runs", f"/runs/{first}", f"/compare/{first}/{second}"]


def test_a_page_has_its_landmarks_and_one_heading_of_the_first_rank(client: Client) -> None:
    for path in every_page(client):
        outline = Outline(client.get(path).text)
        assert [len(outline.all(tag)) for tag in ("main", "h1", "header", "title")] == [1, 1, 1, 1], path
        assert outline.all("html") == [{"lang": "en"}]
        assert all(nav["aria-label"] for nav in outline.all("nav"))
        assert outline.all("a")[0] == {"class": "skip", "href": "#main"}
        assert outline.all("main")[0]["id"] == "main"
        ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
        assert len(ids) == len(set(ids)), path
        ranks = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch("h[1-6]", tag)]
        assert all(after - before <= 1 for before, after in itertools.pairwise(ranks)), path


def test_a_page_has_no_script_and_no_style_of_its_own(client: Client) -> None:
    for path in every_page(client):
        outline = Outline(client.get(path).text)
        for attributes in outline.all("script"):
            assert attributes.get("src") == "/static/lab.js" or attributes["type"] == "application/json"
        assert not outline.all("style")
        names = {name for _, attributes in outline.elements for name in attributes}
        assert not {name for name in names if name.startswith("on") or name == "style"}
        links = [own.get("href") or own.get("src") or "/" for _, own in outline.elements]
        assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in links)


def test_the_chapter_can_be_read_without_javascript(client: Client) -> None:
    talk = client.get("/f/counting")  # its frame at rest is asked for, so that it is known
    assert talk.status == 200
    text = client.get("/").text
    for words in ("Powers first", "A power grows faster than a line", "The curve is x to the chosen power."):
        assert words in text
    assert "<em>power</em> and &lt;b&gt;text&lt;/b&gt;" in text  # Markdown, with its HTML as text
    assert '<a href="#powers.power=3">cube</a>' in text


def test_a_figures_sentence_stands_in_its_place_once_it_is_known(client: Client) -> None:
    with client.talk() as talk:
        sentence = talk.open("a", "powers", {"power": 2, "log": False, "seed": 0})["sentence"]
    assert f"<p>{sentence}</p>" in client.get("/f/powers").text


def test_the_data_block_has_the_specs(client: Client) -> None:
    page = data_of(client.get("/").text)
    assert page["page"] == "chapter"
    figures = page["figures"]
    assert isinstance(figures, dict)
    assert list(figures) == ["powers", "counting"]  # in reading order
    assert figures["powers"]["controls"][0]["name"] == "power"
    kinds = [data_of(client.get(path).text)["page"] for path in every_page(client)]
    assert kinds == ["chapter", "present", "figure", "runs", "run", "compare"]


def test_a_page_is_small(client: Client) -> None:
    assert all(len(client.get(path).text) < 20_000 for path in every_page(client))


def test_the_list_names_the_runs_and_leads_to_them(client: Client) -> None:
    text = client.get("/runs").text
    assert "loop.jsonl" in text
    assert "again.csv" in text
    ids = run_ids(client)
    assert len(ids) == 2
    for id in ids:
        page = client.get(f"/runs/{id}")
        assert page.status == 200
        assert f'data-of="{id}"' in page.text


def test_a_figure_of_a_run_is_drawn(client: Client) -> None:
    id = run_ids(client)[0]
    with client.talk() as talk:
        frame = talk.open("l", "run-loss", of=(id,))
    assert frame["panels"][0]["marks"]


def test_two_chosen_runs_are_compared(client: Client) -> None:
    first, second = run_ids(client)
    page = client.get(f"/compare?run={first}&run={second}")
    assert (page.status, page.headers["location"]) == (303, f"/compare/{first}/{second}")
    assert client.get(f"/compare/{first}/{second}").status == 200
    assert client.get(f"/compare?run={first}").status == 400
    assert client.get("/compare?run=//evil.com&run=x").status == 400


def test_a_run_that_is_not_there_is_told(client: Client) -> None:
    page = client.get("/runs/" + "0" * 16)
    assert page.status == 404
    assert "This run is not here any more" in page.text
    with client.talk() as talk:
        talk.say(op="open", key="l", figure="run-loss", of=["0" * 16], state={})
        assert "run that is not here" in talk.hear()["error"]


def test_a_static_file_is_asked_for_anew_and_sent_once(client: Client) -> None:
    first = client.get("/static/icon.svg")
    assert (first.status, first.headers["content-type"]) == (200, "image/svg+xml")
    given = {"Cookie": client.cookie, "If-None-Match": first.headers["etag"]}
    again = client.ask("GET", "/static/icon.svg", given)
    assert (again.status, again.text) == (304, "")


def test_a_figure_is_saved_as_one_file(client: Client) -> None:
    message = {"op": "open", "key": "export", "figure": "powers", "of": [], "state": {"power": 3}}
    page = client.get("/export?open=" + quote(json.dumps(message)))
    assert page.status == 200
    assert page.headers["content-disposition"] == 'attachment; filename="powers.html"'
    assert "A power grows faster than a line" in page.text
    assert 'id="poise-static"' in page.text


@pytest.mark.parametrize("query", ["", "open=", "open={}", 'open={"op":"close","key":"a"}', "open=[[[["])
def test_what_is_no_figure_is_not_saved(client: Client, query: str) -> None:
    assert client.get("/export?" + quote(query, safe="=")).status in {400, 404}


def test_a_text_travels_packed(client: Client) -> None:
    for path in ("/static/lab.css", "/f/powers"):
        given = {"Cookie": client.cookie, "Accept-Encoding": "gzip, br"}
        packed, plain = client.ask("GET", path, given), client.get(path)
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed.text.encode("latin-1")) == plain.text.encode("latin-1")


# ---- addresses that lead out ----

CANARY = "canary-9f2c"
TRAVERSALS = [
    "../CANARY", "..%2fCANARY", "%2e%2e/CANARY", "%2e%2e%2fCANARY", "%252e%252e%252fCANARY", "..%5cCANARY",
    "..\\CANARY", "%2e%2e%5cCANARY", "....//CANARY", "..../CANARY", "..;/CANARY", ".%2e/CANARY", "/CANARY", "//CANARY",
    "%2fCANARY", "%2f%2fCANARY", "file:///CANARY", "C:/CANARY", "C:%5cCANARY", "%5c%5chost%5cCANARY", "~/CANARY",
    "~root/CANARY", "%00CANARY", "icon.svg%00CANARY", "icon.svg/../CANARY", "icon.svg%2f..%2fCANARY", "x/../../CANARY",
    "..%c0%afCANARY", "%c0%ae%c0%ae/CANARY", "..%e0%80%afCANARY", "%uff0e%uff0e/CANARY", "..%ef%bc%8fCANARY",
    "?/../CANARY", "%3f/../CANARY", "#/../CANARY", "%23/../CANARY", "../static-other/CANARY",
    "..%2fstatic-other%2fCANARY", "link.svg", "beside.svg", "..%0d%0aCANARY", "..%09/CANARY",
    "CANARY%2f..%2f..%2fCANARY", "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "..%2ftemplates%2fbase.html.j2", "..%2fcatalog.py", "lab.css%20", ".", "..", "%2e", "",
]  # fmt: skip


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Serve a folder of its own, with canaries beside it, a sibling of its name, and a link that leads out."""
    (tmp_path / "static").mkdir()
    (tmp_path / "static-other").mkdir()
    os.symlink(pages.FOLDER / "templates", tmp_path / "templates")
    for place in (tmp_path, tmp_path / "static-other"):
        for name in (f"{CANARY}.svg", f"{CANARY}.js", CANARY):
            (place / name).write_text(CANARY, encoding="utf-8")
    (tmp_path / "static" / "icon.svg").write_text("<svg/>", encoding="utf-8")
    (tmp_path / "static" / "link.svg").symlink_to(tmp_path / f"{CANARY}.svg")
    (tmp_path / "static" / "beside.svg").symlink_to(tmp_path / "static-other" / f"{CANARY}.svg")
    monkeypatch.setattr(pages, "FOLDER", tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", TRAVERSALS)
def test_no_address_leads_out_of_the_static_files(client: Client, outside: Path, text: str) -> None:
    assert client.get("/static/icon.svg").text == "<svg/>"
    for name in (f"{CANARY}.svg", f"{CANARY}.js", CANARY, f"{outside}/{CANARY}.svg".lstrip("/")):
        head = f"GET /static/{text.replace('CANARY', name)} HTTP/1.1\r\nHost: {client.host}\r\n"
        answer = client.raw(f"{head}Cookie: {client.cookie}\r\nConnection: close\r\n\r\n".encode("latin-1"))
        assert answer.split(b" ", 2)[1] in {b"404", b"400"}, answer[:200]
        assert CANARY.encode() not in answer.split(b"\r\n\r\n", 1)[1]
        assert b"root:" not in answer


@pytest.mark.parametrize("text", TRAVERSALS)
def test_no_address_is_taken_for_a_path(client: Client, places: Path, text: str) -> None:
    name = str(places / "loop.jsonl").lstrip("/")
    for route in ("/f/", "/runs/", "/compare/", "/compare/0123456789abcdef/"):
        head = f"GET {route}{text.replace('CANARY', name)} HTTP/1.1\r\nHost: {client.host}\r\n"
        answer = client.raw(f"{head}Cookie: {client.cookie}\r\nConnection: close\r\n\r\n".encode("latin-1"))
        assert answer.split(b" ", 2)[1] in {b"404", b"400"}, answer[:200]
