"""The page stands alone, escapes what it is given, and holds the meshes."""

import base64
import dataclasses
import html.parser
import json
import re

import numpy as np
import pytest

from affjax.export import (
  PageFace,
  PagePhoto,
  _page,
  is_page,
  jpeg_bytes,
  page_html,
  png_bytes,
)


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


def _face(mesh, texture, **changes):
  picture = jpeg_bytes(np.zeros((30, 40, 3)))
  values = {
    "title": "Face 1",
    "folder": "a b/face1",
    "files": ["head.glb"],
    "mesh": mesh,
    "rotation": np.eye(3),
    "diffuse_png": png_bytes(texture),
    "light_png": png_bytes(np.ones((4, 4, 1))),
    "light_scale": [2, 2, 2],
    "before": picture,
    "after": picture,
    "split": 0.25,
    "pictures": {"Render": picture},
    "facts": {"Yaw": "3°"},
  }
  return PageFace(**{**values, **changes})


def _html(faces, **options):
  photo = PagePhoto(name=options.pop("name", "photo.jpg"), size=(30, 40), faces=faces)
  options = {"title": "heads", "footer": "affjax", "problems": {}, **options}
  return page_html([photo], **options)


def _read(text):
  reader = _Reader()
  reader.feed(text)
  return reader


def test_nothing_is_loaded_from_elsewhere(ball_mesh, texture):
  reader = _read(_html([_face(ball_mesh, texture)]))
  for tag, attrs in reader.tags:
    assert tag not in ("link", "iframe", "base", "object", "embed")
    if "src" in attrs:
      assert attrs["src"].startswith("data:image/")
    if "href" in attrs:
      assert attrs["href"] == "a%20b/face1/head.glb"
  policy = [a["content"] for t, a in reader.tags if t == "meta" and "http-equiv" in a]
  assert policy[0].startswith("default-src 'none'; img-src data:;")
  for _, text in reader.scripts:
    assert not re.search(r"\b(fetch|XMLHttpRequest|import|WebSocket)\b\s*\(", text)


def test_unsure_heads_are_told(ball_mesh, texture):
  faces = [_face(ball_mesh, texture, warning="Unsure <i>"), _face(ball_mesh, texture)]
  text = _html(faces)
  assert "2 heads from 1 photo, 1 of them unsure" in text
  assert text.count('<p class="warning">Unsure &lt;i&gt;</p>') == 1
  assert "unsure" not in _html(faces[1:])


def test_hostile_names_stay_text(ball_mesh, texture):
  evil = '</script><script>alert(1)</script><img src=x onerror="y">{{data}}'
  text = _html(
    [_face(ball_mesh, texture, title=evil, folder=evil, facts={evil: evil})],
    name=evil,
    title=evil,
    footer=evil,
    problems={evil: evil},
  )
  reader = _read(text)
  assert len(reader.scripts) == 3
  assert all("onerror" not in attrs for _, attrs in reader.tags)
  assert all("alert(1)" not in script for _, script in reader.scripts)


def test_the_mesh_can_be_read_back(ball, ball_mesh, texture):
  reader = _read(_html([_face(ball_mesh, texture)]))
  (data,) = (json.loads(s) for a, s in reader.scripts if "type" in a)

  def numbers(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)

  (face,) = data["faces"]
  low, high = np.array(face["low"]), np.array(face["high"])
  points = low + numbers(face["points"], "<u2").reshape(-1, 3) / 65535 * (high - low)
  np.testing.assert_allclose(points, ball.vertices, atol=1e-4)
  topology = data["topology"]
  corners = numbers(topology["faces"], "<u4").reshape(-1, 3)
  vertex = numbers(topology["vertex"], "<u4")
  np.testing.assert_array_equal(vertex[corners], ball.faces)
  uv = numbers(topology["uv"], "<u2").reshape(-1, 2) / 65535
  np.testing.assert_allclose(uv[corners], ball.uvs[ball.faces_uv], atol=1e-5)
  gloss = numbers(topology["gloss"], "u1")[corners]
  assert gloss[ball.face_groups == 1].min() == 255
  assert gloss[ball.face_groups == 0].max() == 0


def test_heads_beyond_the_limit_are_named(ball_mesh, texture, monkeypatch):
  monkeypatch.setattr(_page, "MAX_HEADS", 2)
  faces = [_face(ball_mesh, texture, title=f"Face {k}") for k in range(3)]
  text = _html(faces)
  assert text.count('class="stage"') == 2
  assert text.count("This page has too many heads") == 1
  assert "Face 2" in text


def test_a_page_without_heads_lists_the_problems():
  text = page_html([], title="t", footer="f", problems={"x.jpg": "no face"})
  assert "x.jpg" in text
  assert "no face" in text
  assert is_page(text)
  assert not is_page("<html>mine</html>")


def test_templates_cannot_be_mixed(ball_mesh, texture):
  other = dataclasses.replace(
    ball_mesh, template=dataclasses.replace(ball_mesh.template)
  )
  with pytest.raises(ValueError, match="one template"):
    _html([_face(ball_mesh, texture), _face(other, texture)])
