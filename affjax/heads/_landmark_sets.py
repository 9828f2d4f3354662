"""The 68 landmarks of heads without them: from a file, some of them, or the shape."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from affjax.geometry import surface
from affjax.heads import (
  _embedded,
  _recognition,
  _registration,
  _retargeting,
  landmarks,
)
from affjax.types import Template

# Vertices of the Surrey model under standard landmarks, counted from 0, from the table
# that eos publishes (share/ibug_to_sfm.txt), which omits the sides of the jaw and the
# inner corners of the mouth. Vertices above 845 exist at the size 3448 only.
SURREY: Mapping[int, int] = {
  8: 33, 17: 225, 18: 229, 19: 233, 20: 2086, 21: 157, 22: 590, 23: 2091, 24: 666,
  25: 662, 26: 658, 27: 2842, 28: 379, 29: 272, 30: 114, 31: 100, 32: 2794, 33: 270,
  34: 2797, 35: 537, 36: 177, 37: 172, 38: 191, 39: 181, 40: 173, 41: 174, 42: 614,
  43: 624, 44: 605, 45: 610, 46: 607, 47: 606, 48: 398, 49: 315, 50: 413, 51: 329,
  52: 825, 53: 736, 54: 812, 55: 841, 56: 693, 57: 411, 58: 264, 59: 431, 61: 416,
  62: 423, 63: 828, 65: 817, 66: 442, 67: 404,
}  # fmt: skip
_FEWEST = 8
# Weight of landmarks that are to be refined; how far landmarks found by the shape may
# lie off the surface, and off their mirror images, dm.
_WEAK, _APART, _UNEVEN = 0.01, 0.05, 0.08


def with_landmarks(template: Template, given: object) -> Template:
  """Returns the template with the 68 standard landmarks.

  Args:
    template: a head.
    given: a JSON file, or its content, of one of four forms. `{"vertices": [68]}` are
      vertices, counted from 0. `{"faces": [68], "weights": [68, 3]}` are triangles and
      barycentric weights. `{"points": [68, 3]}` are positions in head space, dm.
      `{"some": {"36": 177, …}}` are the vertices of at least 8 landmarks, counted from
      0 as in `affjax.heads.landmarks`; the others are found by registration. "auto"
      finds all landmarks by the head's shape.

  Raises:
    ValueError: the form, a count or an index is wrong, or a value is not finite.
  """
  if given == "auto":
    rough = _recognition.rough_landmarks(template.vertices, template.faces)
    return refined(with_landmarks(template, {"points": rough}))[0]
  given = read(given)
  if "some" in given:
    some = _some(dict(given["some"]), len(template.vertices))
    points = completed(template, some)
  else:
    points = places(given, template.vertices, template.faces)
  triangle, weights = surface.nearest_points(
    points, template.vertices, _main_faces(template, points)
  )
  main = np.flatnonzero(_in_main(template, points))
  return dataclasses.replace(
    template,
    landmark_faces=main[triangle].astype(np.int32),
    landmark_weights=weights.astype(np.float32),
  )


def read(given: object) -> Mapping[str, Any]:
  """Returns the content of a JSON file of landmarks, or the given content."""
  if isinstance(given, str | pathlib.Path):
    given = json.loads(pathlib.Path(given).read_text("utf-8"))
  kinds = ("vertices", "points", "faces", "some")
  if not isinstance(given, Mapping) or not any(kind in given for kind in kinds):
    found = list(given) if isinstance(given, Mapping) else type(given).__name__
    raise ValueError(f"landmarks need one of {kinds}, got {found}")
  some = given.get("some", {})
  if not isinstance(some, Mapping) or not all(
    str(number).isdecimal() and isinstance(vertex, int)
    for number, vertex in some.items()
  ):
    raise ValueError("numbers and vertices of some landmarks must be whole numbers")
  return given


def places(
  given: Mapping[str, Any], vertices: Float[np.ndarray, "v 3"], faces: np.ndarray
) -> Float[np.ndarray, "68 3"]:
  """Returns the positions of 68 vertices, points or positions in triangles."""
  kind = next(k for k in ("vertices", "points", "faces") if k in given)
  values = np.asarray(given[kind])
  if values.shape != ((68, 3) if kind == "points" else (68,)):
    raise ValueError(f"landmarks need 68 {kind}, got shape {values.shape}")
  if kind != "points":
    count = len(vertices if kind == "vertices" else faces)
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= count:
      raise ValueError(f"landmarks' {kind} must be whole numbers in [0, {count})")
    if kind == "vertices":
      values = vertices[values]
    else:
      weights = np.asarray(given.get("weights", np.nan), np.float64)
      weights = np.broadcast_to(weights, (68, 3))
      values = np.einsum("lkx,lk->lx", vertices[faces[values]], weights)
  if not np.isfinite(values.astype(np.float64)).all():
    raise ValueError("landmarks must be finite")
  return values.astype(np.float64)


def completed(template: Template, some: Mapping[int, int]) -> Float[np.ndarray, "68 3"]:
  """Returns all 68 landmarks of a head with some known landmarks, in head space.

  The head is registered to the embedded one by the known landmarks and takes over the
  other landmarks. Their error is about 2 mm; the known ones are exact.

  Args:
    template: an upright head at any position.
    some: vertices of the known landmarks, at least 8, all over the face.
  """
  if len(some) < _FEWEST:
    raise ValueError(f"landmarks: at least {_FEWEST} are needed, got {len(some)}")
  known, vertex = np.array(sorted(some.items())).T
  own, base = template.vertices[vertex].astype(np.float64), _embedded.load().template
  theirs = base.landmark_positions(base.vertices.astype(np.float64))
  mean = _retargeting.laid_on(base, template, pairs=(theirs[known], own)).vertices
  points, _ = _taken_over(base, template, mean, _main_faces(template, own))
  # The known landmarks pull their neighbors along.
  slack = np.full(len(known), _registration.slack68().min())
  return _registration.radial_warp(points[known], own, slack * 0, points)


def refined(template: Template) -> tuple[Template, _registration.Laid]:
  """Refines landmarks that are off by some millimeters.

  The head is registered to the embedded one by its surface, with little weight on its
  landmarks, and takes over the embedded landmarks.

  Returns:
    `(template, laid)`: the template with the landmarks, and the registration.

  Raises:
    ValueError: the surface is not a human head's, or its halves differ.
  """
  base = _embedded.load().template
  laid = _retargeting.laid_on(base, template, anchor=_WEAK)
  faces = _main_faces(template, template.landmark_positions(template.vertices))
  points, apart = _taken_over(base, template, laid.vertices, faces)
  if np.quantile(apart, 0.9) > _APART:
    raise _recognition.doubt(
      f"its surface stays {np.quantile(apart, 0.9) * 100:.1f} mm off a human face's"
    )
  _check_symmetry(points)
  return with_landmarks(template, {"points": points}), laid


def _taken_over(
  base: Template, template: Template, mean: np.ndarray, faces: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The base's landmarks on a template, and their distances from it, dm.

  Args:
    base: head with landmarks.
    template: other head.
    mean: vertices of the template, registered to the base.
    faces: triangles of the template under the landmarks.
  """
  theirs = base.landmark_positions(base.vertices.astype(np.float64))
  triangle, weights = surface.nearest_points(theirs, mean, faces)
  read = lambda vertices: np.einsum("lk,lkx->lx", weights, vertices[faces[triangle]])
  return read(template.vertices), np.linalg.norm(read(mean) - theirs, axis=-1)


def _check_symmetry(points: np.ndarray) -> None:
  """Refuses landmarks that differ from their mirror image."""
  mirrored = points[landmarks.MIRRORED] * [-1, 1, 1]
  turn, shift = _registration.similarity(mirrored, points)
  off = np.linalg.norm(mirrored @ turn.T + shift - points, axis=-1)
  if np.median(off) > _UNEVEN:
    raise _recognition.doubt(f"its halves differ by {np.median(off) * 100:.1f} mm")


def _some(given: Mapping[str | int, int], count: int) -> dict[int, int]:
  """The vertex of each known landmark."""
  some = {int(number): int(vertex) for number, vertex in given.items()}
  bad = {n: v for n, v in some.items() if not (0 <= n < 68 and 0 <= v < count)}
  if bad:
    raise ValueError(
      f"landmarks: numbers in [0, 68) name vertices in [0, {count}), got {bad}"
    )
  return some


def _in_main(template: Template, points: np.ndarray) -> np.ndarray:
  """Bool `[T]`: triangles of the group under most of the points."""
  triangle, _ = surface.nearest_points(points, template.vertices, template.faces)
  group = np.bincount(template.face_groups[triangle]).argmax()
  return template.face_groups == group


def _main_faces(template: Template, points: np.ndarray) -> np.ndarray:
  return template.faces[_in_main(template, points)]
