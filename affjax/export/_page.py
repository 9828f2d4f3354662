"""HTML pages that show heads in 3D, without network access.

Pictures and heads are files beside the page; a content security policy forbids it to
load anything from other places. All links are relative: the folder can be moved.
"""

import dataclasses
import html
import importlib.resources
import re
import urllib.parse
from collections.abc import Mapping, Sequence

from affjax.export._card import Card

_MODES = ("Photo light", "Unlit", "Studio", "Clay")


@dataclasses.dataclass(frozen=True, eq=False)
class PagePhoto:
  """A photo on the page: its name, its `(height, width)` and the cards of its faces."""

  name: str
  size: tuple[int, int]
  faces: Sequence[Card]


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
  """The parts that are the same on all pages of a folder.

  Attributes:
    title: Heading of the pages.
    summary: Line under the heading.
    footer: Line at the end of each page.
    problems: Photos without a head, and the reason for each, shown on the first page.
    pages: Names of the files of all pages.
  """

  title: str
  summary: str
  footer: str
  problems: Mapping[str, str]
  pages: Sequence[str]


def page_html(photos: Sequence[PagePhoto], frame: Frame, number: int = 0) -> str:
  """Returns a page.

  Args:
    photos: Photos of this page, in the order to show.
    frame: The parts that are the same on all pages.
    number: Index of the page.
  """
  parts = [_problems(frame.problems) if number == 0 else ""]
  parts += [_photo(photo) for photo in photos]
  return _fill(
    _resource("viewer.html"),
    {
      "title": html.escape(frame.title),
      "summary": html.escape(frame.summary),
      "body": "\n".join(part for part in parts if part),
      "pages": _pages(frame.pages, number),
      "footer": html.escape(frame.footer),
      "style": viewer_style(),
      "script": f"{viewer_script()}\nshowHeads(document);",
    },
  )


def viewer_style() -> str:
  """Returns the style sheet of the page."""
  return _resource("viewer.css")


def viewer_script() -> str:
  """Returns the script that draws heads; its `showHeads(element)` starts it.

  It expects a button with the id `theme` on the page, and cards of `card_html`.
  """
  return _resource("viewer.js")


def is_page(text: str) -> bool:
  """Returns whether the text of a file begins like a page of `page_html`."""
  return '<meta name="generator" content="affjax">' in text[:2000]


def _pages(names: Sequence[str], number: int) -> str:
  """Returns the links between the pages."""
  if len(names) < 2:
    return ""
  current = {number: ' aria-current="page"'}
  links = "".join(
    f'<a class="file" href="{_link(name)}"{current.get(k, "")}>{k + 1}</a>'
    for k, name in enumerate(names)
  )
  return f'<nav class="files" aria-label="Pages">{links}</nav>'


def _photo(photo: PagePhoto) -> str:
  """Returns the section of a photo."""
  height, width = photo.size
  count = f" · {len(photo.faces)} faces" if len(photo.faces) > 1 else ""
  name = (
    f"<h2>{html.escape(photo.name)}<small>{width} × {height} px{count}</small></h2>"
  )
  faces = [card_html(face, titled=len(photo.faces) > 1) for face in photo.faces]
  return "\n".join(['<section class="photo">', name, *faces, "</section>"])


def card_html(face: Card, *, titled: bool) -> str:
  """Returns the card of a face as part of a page.

  Args:
    face: The card.
    titled: Whether the title of the face is shown.
  """
  heading = f"<h3>{html.escape(face.title)}</h3>" if titled else ""
  if face.warning:
    heading += f'<p class="warning">{html.escape(face.warning)}</p>'
  maps = "".join(
    f'<figure><img loading="lazy" alt="{html.escape(caption)}" '
    f'src="{_link(f"{face.folder}/{path}")}">'
    f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    for caption, path in face.pictures.items()
  )
  facts = "".join(
    f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
    for name, value in face.facts.items()
  )
  return (
    f'<article class="face">{heading}<div class="big">'
    f"{_stage(face)}{_compare(face)}</div>"
    f'<div class="maps">{maps}</div>'
    f'<div class="foot"><dl class="facts">{facts}</dl>{_files(face)}</div></article>'
  )


def _stage(face: Card) -> str:
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
    f'<figure><div class="stage" data-script="{_link(face.view)}">'
    f'<canvas tabindex="0" role="img" '
    f'aria-label="3D head, {html.escape(face.title)}; arrow keys turn it"></canvas>'
    f'<div class="sorry"></div><div class="modes"><span class="pills" role="group" '
    f'aria-label="Shading">{modes}</span><span class="pills">{views}</span></div></div>'
    "<figcaption>Drag to turn, wheel or pinch to zoom, double-click to reset."
    "</figcaption></figure>"
  )


def _compare(face: Card) -> str:
  """Returns the photo without and with the head, divided by a slider."""
  height, width = face.size
  cut = round(100 * min(max(face.split, 0.0), 1.0))
  fit = "width:100%" if width >= height else "height:100%"
  return (
    f'<figure><div class="compare"><div class="pair" style="{fit};--cut:{cut}%;'
    f'aspect-ratio:{width}/{height}">'
    f'<img loading="lazy" alt="photo" src="{_link(face.before)}">'
    f'<img loading="lazy" class="over" alt="the head on the photo" '
    f'src="{_link(face.after)}">'
    f'<input type="range" min="0" max="100" value="{cut}" '
    'aria-label="How much of the photo to leave bare"><div class="bar"></div>'
    "</div></div>"
    "<figcaption>Left: the photo. Right: the head rendered onto it. Drag the line."
    "</figcaption></figure>"
  )


def _files(face: Card) -> str:
  """Returns the links to the written files."""
  links = "".join(
    f'<a class="file" href="{_link(f"{face.folder}/{name}")}">{html.escape(name)}</a>'
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
  photos = "1 photo" if len(problems) == 1 else f"{len(problems)} photos"
  return f'<div class="notes"><h2>{photos} without a head</h2><ul>{items}</ul></div>'


def _link(path: str) -> str:
  """Returns a relative path as the value of an attribute."""
  # A colon in the first part would make it the scheme of an address.
  return html.escape(urllib.parse.quote(path, errors="replace"))


def _resource(name: str) -> str:
  """Returns the text of a file of this package."""
  return (importlib.resources.files("affjax.export") / name).read_text("utf-8")


def _fill(template: str, values: Mapping[str, str]) -> str:
  """Replaces each `{{name}}` in one pass, so that values are never searched."""
  return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)
