"""A reconstructed head and everything that is written of it."""

import dataclasses
import functools
import io
import json
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from affjax.export import (
  _glb,
  _head_mesh,
  _images,
  _obj,
  _page,
  _painting,
  _projection,
)
from affjax.geometry import uv
from affjax.models import shade
from affjax.types import Camera, Template

# Side of render.png, px: the mesh is sharper than the photo's crop may be.
_RENDER_SIZE = 512
# Longer side of a photo's part on the page, px, and its width in widths of the head.
_PAGE_SIZE = 900
_PAGE_REACH = 1.9

FILES = (
  *("head.glb", "head.obj", "head.mtl", "diffuse.png", "light.png", "position.npy"),
  *("pose.json", "crop.png", "render.png", "overlay.png"),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Reconstruction:
  """What the networks made of one face of one photo, in NumPy.

  Attributes:
    template: topology of the head.
    camera: the camera of the crop.
    crop_image: what the networks saw, in [0, 1].
    crop: affine map from photo px to crop px.
    position: position map, head-space dm.
    diffuse: diffuse map in [0, 1].
    light: light map >= 0.
    light_color: global colour of the light.
    pose: axis-angle and translation of the head before the crop's camera.
    found: JSON-able facts about the face (box, score, landmarks), for pose.json.
    notes: JSON-able facts about how this came to be, for pose.json.
  """

  template: Template
  camera: Camera
  crop_image: Float[np.ndarray, "c c 3"]
  crop: Float[np.ndarray, "2 3"]
  position: Float[np.ndarray, "s s 3"]
  diffuse: Float[np.ndarray, "s s 3"]
  light: Float[np.ndarray, "l l 1"]
  light_color: Float[np.ndarray, " 3"]
  pose: Float[np.ndarray, " 6"]
  found: Mapping[str, Any]
  notes: Mapping[str, Any]

  @functools.cached_property
  def mesh(self) -> _head_mesh.HeadMesh:
    """The head, without pose."""
    table = uv.uv_table(self.template, len(self.position))
    vertices = uv.vertices_from_map(jnp.asarray(self.position), table)
    return _head_mesh.head_mesh(np.asarray(vertices), self.template)

  @functools.cached_property
  def projection(self) -> _projection.Projection:
    """Head space, dm, to px of the photo."""
    return _projection.head_to_photo(
      self.pose, self.camera, crop=self.crop, crop_size=len(self.crop_image)
    )

  @functools.cached_property
  def shaded(self) -> Float[np.ndarray, "s s 3"]:
    """The diffuse map under the predicted light."""
    maps = (self.diffuse, self.light, self.light_color)
    texture = shade(*(jnp.asarray(values)[None] for values in maps))
    return np.asarray(texture[0])


def head_files(
  head: Reconstruction,
  photo: UInt8[np.ndarray, "h w 3"],
  *,
  keep_original: bool = False,
) -> dict[str, bytes]:
  """The files of a head, by name, as `FILES` lists them.

  Args:
    head: what to write.
    photo: the whole photo it was found in.
    keep_original: whether overlay.png leaves the photo its own eyes and mouth interior.
  """
  light, white = _images.light_picture(head.light)
  texture = _images.png_bytes(head.diffuse)
  facts = _pose_json(head, photo.shape[:2], white)
  extras = {key: facts[key] for key in ("pose", "camera", "projection_from_metres")}
  files = {
    "head.glb": _glb.glb_bytes(head.mesh, texture_png=texture, extras=extras),
    "head.obj": _obj.obj_text(head.mesh, mtl_name="head.mtl").encode(),
    "head.mtl": _obj.mtl_text(head.mesh, texture_name="diffuse.png").encode(),
    "diffuse.png": texture,
    "light.png": _images.png_bytes(light),
    "position.npy": _npy(head.position),
    "pose.json": (json.dumps(facts, indent=1, allow_nan=False) + "\n").encode(),
    "crop.png": _images.png_bytes(head.crop_image),
    "render.png": _images.png_bytes(_render(head)),
    "overlay.png": _images.png_bytes(
      _overlay(head, photo, keep_original), compression=3
    ),
  }
  return {name: files[name] for name in FILES}


def page_face(
  head: Reconstruction,
  photo: UInt8[np.ndarray, "h w 3"],
  files: Mapping[str, bytes],
  *,
  title: str,
  folder: str,
) -> _page.PageFace:
  """The head's card on the page.

  Args:
    head: what to show.
    photo: the whole photo.
    files: what `contents` gave.
    title: name among the faces of the photo.
    folder: where the files lie, relative to the page.
  """
  _, white = _images.light_picture(head.light)
  rotation = _projection.photo_rotation(head.pose, head.crop)
  part, split = _close_up(head, photo.shape[:2])
  overlay = np.asarray(_images.decoded(files["overlay.png"]))
  return _page.PageFace(
    title=title,
    folder=folder,
    files=FILES,
    mesh=head.mesh,
    rotation=rotation,
    diffuse_png=files["diffuse.png"],
    light_png=files["light.png"],
    light_scale=(white * head.light_color).tolist(),
    before=_images.jpeg_bytes(_images.thumbnail(photo[part], _PAGE_SIZE)),
    after=_images.jpeg_bytes(_images.thumbnail(overlay[part], _PAGE_SIZE)),
    split=split,
    pictures={
      "What the networks saw": files["crop.png"],
      "Render": files["render.png"],
      "Position map": _images.png_bytes(_position_picture(head)),
      "Diffuse map": files["diffuse.png"],
      "Light map": files["light.png"],
    },
    facts=_page_facts(head, rotation),
  )


def _pose_json(
  head: Reconstruction, photo_size: tuple[int, int], light_white: float
) -> dict[str, Any]:
  """Everything needed to lay the mesh on the photo, and where the maps come from."""
  rotation = _projection.photo_rotation(head.pose, head.crop)
  angles = _projection.yaw_pitch_roll_deg(rotation)
  metres = head.projection @ np.diag([1 / _head_mesh.METRES_PER_UNIT] * 3 + [1])
  return {
    "about": "pixel = (a / w, b / w) with (a, b, w) = projection (x, y, z, 1); the "
    "centre of the photo's first pixel is (0, 0); x right, y up, z towards the camera",
    "photo": {"height": photo_size[0], "width": photo_size[1]},
    "face": dict(head.found),
    "crop": {"size": len(head.crop_image), "photo_px_to_crop_px": head.crop.tolist()},
    "camera": dataclasses.asdict(head.camera),
    "pose": {
      "axis_angle": np.asarray(head.pose[:3], float).tolist(),
      "translation_dm": np.asarray(head.pose[3:], float).tolist(),
      "matrix_head_to_world_dm": _projection.rigid(head.pose).tolist(),
      "in_photo_deg": dict(zip(("yaw", "pitch", "roll"), angles, strict=True)),
    },
    "projection_from_decimetres": head.projection.tolist(),
    "projection_from_metres": metres.tolist(),
    "light": {
      "color": np.asarray(head.light_color, float).tolist(),
      "light_png_white": light_white,
    },
    "units": {"position.npy": "decimetre", "head.obj": "metre", "head.glb": "metre"},
    "made": dict(head.notes),
  }


def _page_facts(head: Reconstruction, rotation: np.ndarray) -> dict[str, str]:
  """The line of numbers under a head."""
  yaw, pitch, roll = _projection.yaw_pitch_roll_deg(rotation)
  maps = f"{len(head.position)}² position, {len(head.diffuse)}² diffuse"
  facts = {"Yaw": f"{yaw:+.1f}°", "Pitch": f"{pitch:+.1f}°", "Roll": f"{roll:+.1f}°"}
  notes = {"Pose from": "pose_from", "Landmarks off by, %": "inner_error_percent"}
  facts |= {n: str(head.notes[k]) for n, k in notes.items() if k in head.notes}
  return {**facts, "Maps": maps, "Mesh": f"{len(head.mesh.vertices)} vertices"}


def _render(head: Reconstruction) -> np.ndarray:
  """The head as the crop's camera sees it, RGBA."""
  size = len(head.crop_image)
  matrix = _projection.camera_matrix(head.camera, size) @ _projection.rigid(head.pose)
  view = _projection.scaled(matrix, _RENDER_SIZE / size, (0, 0))
  painted = _painting.paint(
    *(head.mesh.vertices, head.shaded, head.template, head.camera, view),
    size=_RENDER_SIZE,
  )
  return _images.over_black(painted.color, painted.alpha)


def _overlay(head: Reconstruction, photo: np.ndarray, keep: bool) -> np.ndarray:
  """The head on the whole photo."""
  return _painting.paint_photo(
    *(photo, head.mesh.vertices, head.shaded, head.template, head.camera),
    head.projection,
    keep_original=keep,
  )


def _close_up(
  head: Reconstruction, photo_size: tuple[int, int]
) -> tuple[tuple[slice, slice], float]:
  """The part of the photo around the head, and where in it the head's middle lies."""
  points = _projection.project(head.mesh.vertices, head.projection)
  low, high = points.min(0), points.max(0)
  edge = np.array(photo_size[::-1])
  # Square, and within the photo, as far as the photo goes.
  middle, side = (low + high) / 2, np.ceil((high - low).max() * _PAGE_REACH)
  extent = np.clip(side, 1, edge).astype(int)
  start = np.clip(np.round(middle - extent / 2), 0, edge - extent).astype(int)
  stop = start + extent
  split = (middle[0] - start[0]) / extent[0]
  return (slice(start[1], stop[1]), slice(start[0], stop[0])), float(split)


def _position_picture(head: Reconstruction) -> np.ndarray:
  """The position map as colours, black where there is no head."""
  table = uv.uv_table(head.template, len(head.position))
  return _images.position_picture(head.position, table.support)


def _npy(values: np.ndarray) -> bytes:
  """A `.npy` file."""
  out = io.BytesIO()
  np.save(out, np.asarray(values, np.float32), allow_pickle=False)
  return out.getvalue()
