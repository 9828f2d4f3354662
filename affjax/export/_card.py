"""The card of a head on the page: a close-up of the photo, the maps, the numbers."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt8

from affjax.export import _facts, _images, _projection
from affjax.export._page import PageFace
from affjax.export._reconstruction import Reconstruction
from affjax.geometry import uv

# Longer side of the close-up, px, and its width in widths of the head.
_PAGE_SIZE = 900
_PAGE_REACH = 1.9


def page_face(
  head: Reconstruction,
  photo: UInt8[np.ndarray, "h w 3"],
  files: Mapping[str, bytes],
  *,
  title: str,
  folder: str,
) -> PageFace:
  """Returns the card of a head.

  Args:
    head: The head.
    photo: The whole photo.
    files: Content of the head's files, as `head_files` returns it.
    title: Name of the face among the faces of the photo.
    folder: Folder of the files, relative to the page.
  """
  _, white = _images.light_picture(head.light)
  part, split = _close_up(head, (photo.shape[0], photo.shape[1]))
  overlay = _images.decoded(files["overlay.png"])
  table = uv.uv_table(head.template, len(head.position))
  position = _images.position_picture(head.position, table.support)
  return PageFace(
    title=title,
    folder=folder,
    files=tuple(files),
    mesh=head.mesh,
    rotation=head.rotation,
    diffuse_png=files["diffuse.png"],
    light_png=files["light.png"],
    light_scale=(white * head.light_color).tolist(),
    before=_images.jpeg_bytes(_images.thumbnail(photo[part], _PAGE_SIZE)),
    after=_images.jpeg_bytes(_images.thumbnail(overlay[part], _PAGE_SIZE)),
    split=split,
    pictures={
      "Crop": files["crop.png"],
      "Render": files["render.png"],
      "Position map": _images.png_bytes(position),
      "Diffuse map": files["diffuse.png"],
      "Light map": files["light.png"],
    },
    facts=_facts.page_facts(head),
    warning=_warning(head),
  )


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
