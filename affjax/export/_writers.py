"""The files of a head: one row of a table for each.

A new format is a function from a `HeadInPhoto` to the content of a file, and a row of
`WRITERS`; a mesh format is chosen by its name in `MESH_FORMATS`.
"""

import dataclasses
import functools
import io
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from affjax import threads
from affjax.export import (
  _facts,
  _glb,
  _images,
  _obj,
  _painting,
  _ply,
  _projection,
  _usdz,
)
from affjax.export._reconstruction import Reconstruction

# Side of render.png, px: the mesh can be sharper than the crop.
_RENDER_SIZE = 512
MESH_FORMATS = ("glb", "obj", "ply", "usdz")
DEFAULT_FORMATS = ("glb", "obj")


@dataclasses.dataclass(frozen=True, eq=False)
class HeadInPhoto:
  """A head with its photo, from which every file is made.

  Attributes:
    head: The head.
    photo: The whole photo.
    keep_original: Whether overlay.png leaves the photo its own eyes and mouth interior.
  """

  head: Reconstruction
  photo: UInt8[np.ndarray, "h w 3"]
  keep_original: bool = False

  @functools.cached_property
  def texture_png(self) -> bytes:
    """The diffuse map as a PNG file."""
    return _images.png_bytes(self.head.diffuse)

  @functools.cached_property
  def facts(self) -> Mapping[str, Any]:
    """The content of pose.json."""
    height, width, _ = self.photo.shape
    return _facts.head_facts(self.head, photo_size=(height, width))


@dataclasses.dataclass(frozen=True)
class Writer:
  """A file that is written for each head.

  Attributes:
    format: Name of the format; a format may have several files.
    file: Name of the file, with its suffix.
    content: Function that returns the bytes of the file; None if a head has none.
  """

  format: str
  file: str
  content: Callable[[HeadInPhoto], bytes | None]


def head_files(
  head: Reconstruction,
  photo: UInt8[np.ndarray, "h w 3"],
  *,
  formats: Collection[str] = DEFAULT_FORMATS,
  keep_original: bool = False,
) -> dict[str, bytes]:
  """Returns the content of each file of a head, by name, in the order of `WRITERS`.

  Args:
    head: The head.
    photo: The whole photo in which the head was found.
    formats: Mesh formats to write, of `MESH_FORMATS`.
    keep_original: Whether overlay.png leaves the photo its own eyes and mouth interior.

  Raises:
    ValueError: A format is unknown.
  """
  check_formats(formats)
  subject = HeadInPhoto(head, photo, keep_original)
  # Several files need these: they are computed once, before the threads begin.
  _ = (head.mesh, head.neutral, head.shaded, subject.texture_png, subject.facts)
  writers = _chosen(formats)
  made = threads.mapped(lambda writer: writer.content(subject), writers)
  contents = dict(zip((writer.file for writer in writers), made, strict=True))
  return {name: content for name, content in contents.items() if content is not None}


def check_formats(formats: Collection[str]) -> None:
  """Raises a ValueError unless all mesh formats are known."""
  if unknown := sorted(set(formats) - set(MESH_FORMATS)):
    known, wrong = ", ".join(MESH_FORMATS), ", ".join(unknown)
    raise ValueError(f"format must be some of {known}, got {wrong!r}")


def _chosen(formats: Collection[str]) -> list["Writer"]:
  """Returns the writers of the mesh formats, and those that no choice concerns."""
  return [w for w in WRITERS if w.format in formats or w.format not in MESH_FORMATS]


def _glb_file(subject: HeadInPhoto) -> bytes:
  names = ("pose", "camera", "projection_from_metres")
  extras = {name: subject.facts[name] for name in names}
  head, expression = subject.head, subject.head.expression
  neutral = head.neutral if expression and expression.is_arkit else None
  return _glb.glb_bytes(
    neutral or head.mesh,
    texture_png=subject.texture_png,
    extras=extras,
    expression=expression if neutral else None,
  )


def _obj_file(subject: HeadInPhoto) -> bytes:
  return _obj.obj_text(subject.head.mesh, mtl_name="head.mtl").encode()


def _neutral_file(subject: HeadInPhoto) -> bytes | None:
  neutral = subject.head.neutral
  return neutral and _obj.obj_text(neutral, mtl_name="head.mtl").encode()


def _ply_file(subject: HeadInPhoto) -> bytes:
  head = subject.head
  return _ply.ply_bytes(head.mesh, diffuse=head.diffuse, texture_name="diffuse.png")


def _usdz_file(subject: HeadInPhoto) -> bytes:
  return _usdz.usdz_bytes(subject.head.mesh, texture_png=subject.texture_png)


def _mtl_file(subject: HeadInPhoto) -> bytes:
  return _obj.mtl_text(subject.head.mesh, texture_name="diffuse.png").encode()


def _light_file(subject: HeadInPhoto) -> bytes:
  picture, _ = _images.light_picture(subject.head.light)
  return _images.png_bytes(picture)


def _position_file(subject: HeadInPhoto) -> bytes:
  out = io.BytesIO()
  np.save(out, np.asarray(subject.head.position, np.float32), allow_pickle=False)
  return out.getvalue()


def _pose_file(subject: HeadInPhoto) -> bytes:
  return (json.dumps(subject.facts, indent=1, allow_nan=False) + "\n").encode()


def _crop_file(subject: HeadInPhoto) -> bytes:
  return _images.png_bytes(subject.head.crop_image)


def _render_file(subject: HeadInPhoto) -> bytes:
  return _images.png_bytes(_render(subject.head))


def _render(head: Reconstruction) -> Float[np.ndarray, "s s 4"]:
  """Returns the head as the camera of the crop sees it, RGBA."""
  size = len(head.crop_image)
  matrix = _projection.camera_matrix(head.camera, size) @ _projection.rigid(head.pose)
  view = _projection.scaled(matrix, _RENDER_SIZE / size, (0, 0))
  painted = _painting.paint(
    *(head.mesh.vertices, head.shaded, head.template, head.camera, view),
    size=_RENDER_SIZE,
  )
  return _images.over_black(painted.color, painted.alpha)


def _overlay_file(subject: HeadInPhoto) -> bytes:
  head = subject.head
  overlay = _painting.paint_photo(
    *(subject.photo, head.mesh.vertices, head.shaded, head.template, head.camera),
    head.projection,
    keep_original=subject.keep_original,
  )
  return _images.png_bytes(overlay)


WRITERS = (
  Writer("glb", "head.glb", _glb_file),
  Writer("obj", "head.obj", _obj_file),
  Writer("obj", "neutral.obj", _neutral_file),
  Writer("obj", "head.mtl", _mtl_file),
  Writer("ply", "head.ply", _ply_file),
  Writer("usdz", "head.usdz", _usdz_file),
  Writer("diffuse", "diffuse.png", lambda subject: subject.texture_png),
  Writer("light", "light.png", _light_file),
  Writer("position", "position.npy", _position_file),
  Writer("pose", "pose.json", _pose_file),
  Writer("crop", "crop.png", _crop_file),
  Writer("render", "render.png", _render_file),
  Writer("overlay", "overlay.png", _overlay_file),
)

# Files of a head with the default formats.
FILES = tuple(writer.file for writer in _chosen(DEFAULT_FORMATS))
