"""How likely it is that a head lies right on a face."""

import functools

import numpy as np
from jaxtyping import Float

from affjax.faces._find import Face
from affjax.geometry import mesh
from affjax.geometry.camera import head_to_world, world_to_cam, world_to_px
from affjax.types import Camera, Template

# Error of the landmarks of a head, percent of the interocular distance, from which on
# it is off the face whatever else is known, and the largest confidence of such a head.
OFF, _OFF_CONFIDENCE = 12.0, 0.5
# Share of the face below which too much of it is hidden for a sure head. Of 27 photos
# that show a whole face, fringes and beards included, all had 0.70 or more; with one
# half covered, heads on the face had at most 0.51.
LEAST_SHARE = 0.6
# Cosine between normal and line of sight from which a vertex is turned to the camera.
_TURNED = 0.3


def confidence(face: Face, residual: float, share: float = 1.0) -> float | None:
  """Returns the probability that a head lies right on a face.

  It is the score of the face, which says how well the detector and the landmark network
  agree, and at most 0.5 for a head that is far from the landmarks, and for one whose
  face is hidden for the most part: its landmarks are guessed.

  Args:
    face: Face, as `find_faces` returns it.
    residual: Mean distance of the head's landmarks 17-67 from the face's, in percent
      of the distance of the outer eye corners.
    share: Share of the face that the photo shows, as `visible_share` returns it.

  Returns:
    The probability; None for a face whose evidence is not known.
  """
  return (
    None if face.evidence is None else limited_confidence(face.score, residual, share)
  )


def limited_confidence(score: float, residual: float, share: float = 1.0) -> float:
  """Returns the confidence in a head, given the score of its face; see `confidence`."""
  sure = residual < OFF and share >= LEAST_SHARE
  return score if sure else min(score, _OFF_CONFIDENCE)


def visible_share(
  vertices: Float[np.ndarray, "v 3"],
  pose: Float[np.ndarray, " 6"],
  visible: Float[np.ndarray, "s s 1"],
  template: Template,
  camera: Camera,
) -> float:
  """Returns how much the photo shows of the part of a face that is turned to it.

  Args:
    vertices: The head, head space, dm.
    pose: Its pose.
    visible: Visible skin of the crop, as `visible_skin` returns it.
    template: Template of the head.
    camera: Camera of the crop.

  Returns:
    The mean of the visible skin over the vertices of the mask "face" that are turned to
    the camera, in [0, 1], where vertices beyond the crop count as hidden; 1 for a
    template without that mask, and for a head that shows its back.
  """
  world = head_to_world(np.asarray(vertices), np.asarray(pose, np.float32))
  normals = mesh.vertex_normals(world, template.faces)
  sight = -world_to_cam(world, camera)
  lengths = np.linalg.norm(normals, axis=-1) * np.linalg.norm(sight, axis=-1)
  cosine = (normals * sight).sum(-1) / np.maximum(lengths, 1e-9)
  shown = _face_vertices(template) & (cosine > _TURNED)
  if not shown.any():
    return 1.0
  side = len(visible)
  px = world_to_px(world[shown], camera, side, side)
  column, row = np.floor(px).astype(int).T
  inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
  return float(visible[row[inside], column[inside]].sum() / len(px))


@functools.lru_cache(maxsize=8)
def _face_vertices(template: Template) -> np.ndarray:
  """Returns which vertices lie in the mask "face"."""
  found = np.zeros(len(template.vertices), bool)
  if (mask := template.masks.get("face")) is None:
    return found
  height, width = mask.shape
  u, v = template.uvs[template.faces_uv.reshape(-1)].T
  column = np.clip((u * width).astype(int), 0, width - 1)
  row = np.clip(((1 - v) * height).astype(int), 0, height - 1)
  found[template.faces.reshape(-1)[mask[row, column] > 0.5]] = True
  return found
