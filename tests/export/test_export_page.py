"""The page loads its own files only, and escapes what it is given."""

import html.parser
import re

from affjax.export import Card, Frame, PagePhoto, is_page, page_html


class _Reader(html.parser.HTMLParser):
  """Collects tags and the content of the script elements."""

  def __init__(self):
    super().__init__()
    self.tags, self.scripts, self._open = [], [], None

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag == "script":
      self.scripts.append((dict(attrs), ""))
      self._open = True

  def handle_endtag(self, tag):
    if tag == "script":
      self._open = False

  def handle_data(self, data):
    if self._open:
      attrs, text = self.scripts[-1]
      self.scripts[-1] = (attrs, text + data)


def _card(**changes):
  values = {
    "title": "Face 1",
    "folder": "a b/face1",
    "files": ["head.glb"],
    "pictures": {"Render": "render.png"},
    "size": (30, 40),
    "split": 0.25,
    "facts": {"Yaw": "3°"},
  }
  return Card(**{**values, **changes})


def _html(faces, *, name="photo.jpg", number=0, **changes):
  photo = PagePhoto(name=name, size=(30, 40), faces=faces)
  values = {
    "title": "heads",
    "summary": "1 head",
    "footer": "affjax",
    "problems": {},
    "pages": ["index.html"],
  }
  return page_html([photo], Frame(**{**values, **changes}), number)


def _read(text):
  reader = _Reader()
  reader.feed(text)
  return reader


def test_nothing_is_loaded_from_elsewhere():
  reader = _read(_html([_card()]))
  links = set()
  for tag, attrs in reader.tags:
    assert tag not in ("link", "iframe", "base", "object", "embed")
    links |= {attrs[key] for key in ("src", "href", "data-script") if key in attrs}
  here = "a%20b/face1"
  assert links == {
    *(f"{here}/page/{name}" for name in ("view.js", "before.jpg", "after.jpg")),
    *(f"{here}/{name}" for name in ("render.png", "head.glb")),
  }
  policy = [a["content"] for t, a in reader.tags if t == "meta" and "http-equiv" in a]
  assert policy[0].startswith("default-src 'none'; img-src data: 'self' file:;")
  for _, text in reader.scripts:
    assert not re.search(r"\b(fetch|XMLHttpRequest|import|WebSocket)\b\s*\(", text)


def test_unsure_heads_are_told():
  text = _html([_card(warning="Unsure <i>"), _card()])
  assert text.count('<p class="warning">Unsure &lt;i&gt;</p>') == 1
  assert "Unsure" not in _html([_card()])


def test_hostile_names_stay_text():
  evil = '</script><script>alert(1)</script><img src=x onerror="y">{{data}}'
  card = _card(
    title=evil, folder=evil, files=[evil], pictures={evil: evil}, facts={evil: evil}
  )
  reader = _read(
    _html(
      [card, card],
      name=evil,
      title=evil,
      summary=evil,
      footer=evil,
      problems={evil: evil},
      pages=[evil, evil],
    )
  )
  assert len(reader.scripts) == 2
  assert all("onerror" not in attrs for _, attrs in reader.tags)
  assert all("alert(1)" not in script for _, script in reader.scripts)
  links = [a[key] for _, a in reader.tags for key in ("src", "href") if key in a]
  assert not any(link.startswith(("javascript:", "/")) or "<" in link for link in links)


def test_a_name_cannot_become_an_address():
  reader = _read(_html([_card(folder="javascript:alert(1)", files=["x"])]))
  hrefs = [attrs["href"] for _, attrs in reader.tags if "href" in attrs]
  assert hrefs == ["javascript%3Aalert%281%29/x"]


def test_pages_link_to_each_other():
  pages = ["index.html", "index-2.html", "index-3.html"]
  problems = {"x.jpg": "no face"}
  second = _html([_card()], pages=pages, problems=problems, number=1)
  links = [(a["href"], "aria-current" in a) for t, a in _read(second).tags if t == "a"]
  assert links[:3] == [(name, name == "index-2.html") for name in pages]
  assert "x.jpg" not in second
  assert "x.jpg" in _html([_card()], pages=pages, problems=problems)


def test_pages_are_known_again():
  text = page_html([], Frame("t", "s", "f", {"x.jpg": "no face"}, ["index.html"]))
  assert "x.jpg" in text
  assert "no face" in text
  assert is_page(text)
  assert not is_page("<html>mine</html>")
