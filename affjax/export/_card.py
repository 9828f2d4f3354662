"""The card of a head on the page: a close-up of the photo, the maps, the numbers.

What a card shows lies beside the files of its head, in the folder `page`, so that a
page can be made again from the results, and needs no memory for heads that it does not
show.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from affjax.export import _facts, _images, _projection, _view
from affjax.export._reconstruction import Reconstruction
from affjax.geometry import uv

# Folder of a card, inside of the folder of its head.
CARD_FOLDER = "page"
_CARD, _VIEW = "card.json", "view.js"
# Longer side of the close-up, px, and its width in widths of the head.
_PAGE_SIZE = 900
_PAGE_REACH = 1.9


@dataclasses.dataclass(frozen=True)
class Card:
  """A head on the page; its pictures are files.

  Attributes:
    title: Name of the face among the faces of its photo.
    folder: Folder of the head, relative to the page, with `/`.
    files: Names of files in that folder; each becomes a link.
    pictures: Captions and paths, relative to the folder, of pictures in a row.
    size: Height and width of the close-up, px.
    split: Start of the line between photo and head; 0 = left edge, 1 = right edge.
    facts: Names and values, shown as they are.
    warning: A sentence that is shown above the head, if any.
  """

  title: str
  folder: str
  files: Sequence[str]
  pictures: Mapping[str, str]
  size: tuple[int, int]
  split: float
  facts: Mapping[str, str]
  warning: str = ""

  @property
  def view(self) -> str:
    """The path of the script that holds the head in 3D, relative to the page."""
    return f"{self.folder}/{CARD_FOLDER}/{_VIEW}"

  @property
  def before(self) -> str:
    """The path of the close-up of the photo, relative to the page."""
    return f"{self.folder}/{CARD_FOLDER}/before.jpg"

  @property
  def after(self) -> str:
    """The path of the close-up with the head on it, relative to the page."""
    return f"{self.folder}/{CARD_FOLDER}/after.jpg"


def card_files(
  head: Reconstruction,
  photo: UInt8[np.ndarray, "h w 3"],
  files: Mapping[str, bytes],
  *,
  title: str,
) -> dict[str, bytes]:
  """Returns the files of the card of a head, by their names in `CARD_FOLDER`.

  Args:
    head: The head.
    photo: The whole photo.
    files: Content of the head's files, as `head_files` returns it.
    title: Name of the face among the faces of the photo.
  """
  part, split = _close_up(head, (photo.shape[0], photo.shape[1]))
  before = _images.thumbnail(photo[part], _PAGE_SIZE)
  overlay = _images.decoded(files["overlay.png"])
  table = uv.uv_table(head.template, len(head.position))
  position = _images.position_picture(head.position, table.support)
  card = {
    "title": title,
    "files": list(files),
    "pictures": {
      "Crop": "crop.png",
      "Render": "render.png",
      "Position map": f"{CARD_FOLDER}/position.png",
      "Diffuse map": "diffuse.png",
      "Light map": "light.png",
    },
    "size": before.shape[:2],
    "split": split,
    "facts": _facts.page_facts(head),
    "warning": _warning(head),
  }
  return {
    _CARD: json.dumps(card, indent=1, allow_nan=False).encode(),
    _VIEW: _view.view_script(head, light_png=files["light.png"]).encode(),
    "before.jpg": _images.jpeg_bytes(before),
    "after.jpg": _images.jpeg_bytes(_images.thumbnail(overlay[part], _PAGE_SIZE)),
    "position.png": _images.png_bytes(position),
  }


def read_card(out: pathlib.Path, folder: str) -> Card | None:
  """Returns the card of a head; None if its folder holds none that is whole.

  Args:
    out: Folder of the page.
    folder: Folder of the head, relative to it, with `/`.
  """
  try:
    content = json.loads((out / folder / CARD_FOLDER / _CARD).read_text("utf-8"))
    height, width = map(int, content["size"])
    split = float(content["split"])
    if not math.isfinite(split):
      return None
    return Card(
      title=str(content["title"]),
      folder=folder,
      files=[str(name) for name in content["files"]],
      pictures=_texts(content["pictures"]),
      size=(max(height, 1), max(width, 1)),
      split=split,
      facts=_texts(content["facts"]),
      warning=str(content.get("warning", "")),
    )
  except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError):
    return None


def _texts(content: Any) -> dict[str, str]:
  return {str(name): str(value) for name, value in content.items()}


def _warning(head: Reconstruction) -> str:
  """Returns the sentence that is shown above a head that may be wrong."""
  if not head.unsure:
    return ""
  return (
    f"Unsure, confidence {100 * (head.confidence or 0):.0f} %: this may be no face, or "
    "the head may not lie on it as it should."
  )


def _close_up(
  head: Reconstruction, photo_size: tuple[int, int]
) -> tuple[tuple[slice, slice], float]:
  """Returns the part of the photo around the head, and the head's middle in it.

  The middle is a fraction of the part's width.
  """
  points = _projection.project(head.mesh.vertices, head.projection)
  low, high = points.min(0), points.max(0)
  edge = np.array(photo_size[::-1])
  # The part is square where the photo is large enough.
  middle, side = (low + high) / 2, np.ceil((high - low).max() * _PAGE_REACH)
  extent = np.clip(side, 1, edge).astype(int)
  start = np.clip(np.round(middle - extent / 2), 0, edge - extent).astype(int)
  stop = start + extent
  split = (middle[0] - start[0]) / extent[0]
  return (slice(start[1], stop[1]), slice(start[0], stop[0])), float(split)
