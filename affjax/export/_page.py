"""An HTML page that shows every head in 3D, without network access.

Images, meshes and the viewer are embedded; a content security policy forbids the page
to load anything. Links to the written files are relative: the folder can be moved.
"""

import base64
import dataclasses
import html
import importlib.resources
import io
import json
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from affjax.export import _head_mesh
from affjax.export._head_mesh import HeadMesh
from affjax.types import Template

# A head takes 0.2 to 1 MB of the page, and browsers are slow beyond some 100 MB.
MAX_HEADS = 150

_GLOSS = {"eyes": 1.0, "teeth": 0.6}
_MODES = ("Photo light", "Unlit", "Studio", "Clay")


@dataclasses.dataclass(frozen=True, eq=False)
class PageFace:
  """A head on the page.

  Attributes:
    title: Name of the face among the faces of its photo.
    folder: Folder of the files, relative to the page, with `/`.
    files: Names of files in that folder; each becomes a link.
    mesh: The head; the heads of a page share one template.
    rotation: `[3, 3]`, rotation of the head in the photo.
    diffuse_png: Texture, a PNG file.
    light_png: Light map, a PNG file.
    light_scale: RGB factors from values of `light_png` to light.
    before: The photo, a JPEG or PNG file.
    after: The photo with the head on it, of the same size.
    split: Start of the line between the two; 0 = left edge, 1 = right edge.
    pictures: Captions and PNG or JPEG files, shown in a row.
    facts: Names and values, shown as they are.
    warning: A sentence that is shown above the head, if any.
  """

  title: str
  folder: str
  files: Sequence[str]
  mesh: HeadMesh
  rotation: np.ndarray
  diffuse_png: bytes
  light_png: bytes
  light_scale: Sequence[float]
  before: bytes
  after: bytes
  split: float
  pictures: Mapping[str, bytes]
  facts: Mapping[str, str]
  warning: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class PagePhoto:
  """A photo on the page: its name, its `(height, width)` and its faces."""

  name: str
  size: tuple[int, int]
  faces: Sequence[PageFace]


def page_html(
  photos: Sequence[PagePhoto],
  *,
  title: str,
  footer: str,
  problems: Mapping[str, str],
) -> str:
  """Returns the page.

  Args:
    photos: Photos in the order to show. Heads beyond `MAX_HEADS` are listed with their
      files, without images.
    title: Heading of the page.
    footer: Line at the end of the page.
    problems: Photos without a head, and the reason for each.
  """
  faces = [face for photo in photos for face in photo.faces]
  shown = faces[:MAX_HEADS]
  if any(face.mesh.template is not faces[0].mesh.template for face in faces):
    raise ValueError("faces of one page must share one template")
  number = {id(face): k for k, face in enumerate(shown)}
  body = [_problems(problems)] + [_photo(photo, number) for photo in photos]
  data = {
    "topology": _topology(shown[0].mesh.template) if shown else None,
    "faces": [_face_data(face) for face in shown],
  }
  return _fill(
    _resource("viewer.html"),
    {
      "title": html.escape(title),
      "summary": _summary(faces, len(photos)),
      "body": "\n".join(part for part in body if part),
      "footer": html.escape(footer),
      # A name in JSON could otherwise end the script element.
      "data": json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
      "script": _resource("viewer.js"),
    },
  )


def _summary(faces: Sequence[PageFace], photos: int) -> str:
  """Returns the line below the heading."""
  unsure = sum(bool(face.warning) for face in faces)
  more = f", {unsure} of them unsure" if unsure else ""
  return f"{_count(len(faces), 'head')} from {_count(photos, 'photo')}{more}"


def is_page(text: str) -> bool:
  """Returns whether the text of a file begins like a page of `page_html`."""
  return '<meta name="generator" content="affjax">' in text[:2000]


def _photo(photo: PagePhoto, number: Mapping[int, int]) -> str:
  """Returns the section of a photo."""
  height, width = photo.size
  count = f" · {_count(len(photo.faces), 'face')}" if len(photo.faces) > 1 else ""
  name = (
    f"<h2>{html.escape(photo.name)}<small>{width} × {height} px{count}</small></h2>"
  )
  faces = [_face(face, number, len(photo.faces) > 1) for face in photo.faces]
  return "\n".join(['<section class="photo">', name, *faces, "</section>"])


def _face(face: PageFace, number: Mapping[int, int], titled: bool) -> str:
  """Returns the card of a face."""
  heading = f"<h3>{html.escape(face.title)}</h3>" if titled else ""
  if face.warning:
    heading += f'<p class="warning">{html.escape(face.warning)}</p>'
  if id(face) not in number:
    return (
      f'<article class="face">{heading}<p>This page has too many heads; '
      f"the files of this one are in its folder.</p>{_files(face)}</article>"
    )
  maps = "".join(
    f'<figure><img loading="lazy" alt="{html.escape(caption)}" src="{_url(content)}">'
    f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    for caption, content in face.pictures.items()
  )
  facts = "".join(
    f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
    for name, value in face.facts.items()
  )
  return (
    f'<article class="face">{heading}<div class="big">'
    f"{_stage(face.title, number[id(face)])}{_compare(face)}</div>"
    f'<div class="maps">{maps}</div>'
    f'<div class="foot"><dl class="facts">{facts}</dl>{_files(face)}</div></article>'
  )


def _stage(title: str, index: int) -> str:
  """Returns the 3D view of a head."""
  modes = "".join(
    f'<button type="button" data-mode="{k}" aria-pressed="{str(k == 0).lower()}">'
    f"{name}</button>"
    for k, name in enumerate(_MODES)
  )
  views = (
    '<button type="button" data-view="photo">As in photo</button>'
    '<button type="button" data-view="front">Reset</button>'
  )
  return (
    f'<figure><div class="stage" data-face="{index}"><canvas tabindex="0" role="img" '
    f'aria-label="3D head, {html.escape(title)}; arrow keys turn it"></canvas>'
    f'<div class="sorry"></div><div class="modes"><span class="pills" role="group" '
    f'aria-label="Shading">{modes}</span><span class="pills">{views}</span></div></div>'
    "<figcaption>Drag to turn, wheel or pinch to zoom, double-click to reset."
    "</figcaption></figure>"
  )


def _compare(face: PageFace) -> str:
  """Returns the photo without and with the head, divided by a slider."""
  height, width = _image_size(face.before)
  cut = round(100 * min(max(face.split, 0.0), 1.0))
  fit = "width:100%" if width >= height else "height:100%"
  return (
    f'<figure><div class="compare"><div class="pair" style="{fit};--cut:{cut}%;'
    f'aspect-ratio:{width}/{height}"><img alt="photo" src="{_url(face.before)}">'
    f'<img class="over" alt="the head on the photo" src="{_url(face.after)}">'
    f'<input type="range" min="0" max="100" value="{cut}" '
    'aria-label="How much of the photo to leave bare"><div class="bar"></div>'
    "</div></div>"
    "<figcaption>Left: the photo. Right: the head rendered onto it. Drag the line."
    "</figcaption></figure>"
  )


def _files(face: PageFace) -> str:
  """Returns the links to the written files."""
  place = html.escape(urllib.parse.quote(face.folder))
  links = "".join(
    f'<a class="file" href="{place}/{html.escape(urllib.parse.quote(name))}">'
    f"{html.escape(name)}</a>"
    for name in face.files
  )
  return f'<div class="files">{links}</div>'


def _problems(problems: Mapping[str, str]) -> str:
  """Returns the list of photos without a head."""
  if not problems:
    return ""
  items = "".join(
    f"<li><b>{html.escape(name)}</b>: {html.escape(reason)}</li>"
    for name, reason in problems.items()
  )
  heading = f"<h2>{_count(len(problems), 'photo')} without a head</h2>"
  return f'<div class="notes">{heading}<ul>{items}</ul></div>'


def _face_data(face: PageFace) -> dict[str, Any]:
  """Returns a head for the viewer; positions are 16-bit fractions of their bounds."""
  points = face.mesh.vertices.astype(np.float64)
  low, high = points.min(0), points.max(0)
  rotation = np.eye(4)
  rotation[:3, :3] = face.rotation
  return {
    "points": _packed(_quantized(points, low, high), "<u2"),
    "low": low.tolist(),
    "high": high.tolist(),
    "diffuse": _url(face.diffuse_png),
    "light": _url(face.light_png),
    "lightScale": [float(x) for x in face.light_scale],
    "rotation": rotation.T.reshape(-1).tolist(),
  }


def _topology(template: Template) -> dict[str, str]:
  """Returns triangles, UVs and gloss, which all heads of the page share."""
  corners = _head_mesh.split_at_seams(template)
  gloss = np.zeros(len(corners.vertex))
  for name, triangles in _head_mesh.group_faces(corners.faces, template).items():
    gloss[triangles.reshape(-1)] = _GLOSS.get(name, 0.0)
  return {
    "vertex": _packed(corners.vertex, "<u4"),
    "faces": _packed(corners.faces, "<u4"),
    "uv": _packed(_quantized(template.uvs[corners.uv], np.zeros(2), np.ones(2)), "<u2"),
    "gloss": _packed(np.round(255 * gloss), "u1"),
  }


def _quantized(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
  """Returns values between the bounds as 0..65535."""
  span = np.maximum(high - low, 1e-12)
  return np.round(65535 * np.clip((values - low) / span, 0, 1))


def _packed(values: np.ndarray, dtype: str) -> str:
  """Returns numbers as little-endian bytes in base64."""
  return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode()


def _url(content: bytes) -> str:
  """Returns an image file as a data URL."""
  kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
  return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _image_size(content: bytes) -> tuple[int, int]:
  """Returns height and width of an image file."""
  with Image.open(io.BytesIO(content)) as image:
    return image.height, image.width


def _count(number: int, noun: str) -> str:
  return f"{number} {noun}" + ("" if number == 1 else "s")


def _resource(name: str) -> str:
  """Returns the text of a file of this package."""
  return (importlib.resources.files("affjax.export") / name).read_text("utf-8")


def _fill(template: str, values: Mapping[str, str]) -> str:
  """Replaces each `{{name}}` in one pass, so that values are never searched."""
  return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)
