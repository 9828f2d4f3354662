"""The 68 landmarks for heads that come without: from a file, or from a few of them."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from affjax.geometry import surface
from affjax.heads import _embedded, _registration, _retargeting
from affjax.types import Template

# Vertices of the Surrey model under standard landmarks, counted from 0; from the table
# that eos publishes (share/ibug_to_sfm.txt), which leaves out the jaw's sides and the
# inner corners of the mouth. Those above 845 exist at the size 3448 only.
SURREY: Mapping[int, int] = {
  8: 33, 17: 225, 18: 229, 19: 233, 20: 2086, 21: 157, 22: 590, 23: 2091, 24: 666,
  25: 662, 26: 658, 27: 2842, 28: 379, 29: 272, 30: 114, 31: 100, 32: 2794, 33: 270,
  34: 2797, 35: 537, 36: 177, 37: 172, 38: 191, 39: 181, 40: 173, 41: 174, 42: 614,
  43: 624, 44: 605, 45: 610, 46: 607, 47: 606, 48: 398, 49: 315, 50: 413, 51: 329,
  52: 825, 53: 736, 54: 812, 55: 841, 56: 693, 57: 411, 58: 264, 59: 431, 61: 416,
  62: 423, 63: 828, 65: 817, 66: 442, 67: 404,
}  # fmt: skip
_FEWEST = 8


def with_landmarks(
  template: Template, given: str | pathlib.Path | Mapping[str, Sequence | Mapping]
) -> Template:
  """The template with the 68 standard landmarks.

  Args:
    template: any head.
    given: a JSON file or what it holds. `{"vertices": [68]}` counts vertices from 0;
      `{"faces": [68], "weights": [68, 3]}` are triangles and barycentric weights;
      `{"points": [68, 3]}` are places in head space, dm; `{"some": {"36": 177, …}}`
      names the vertices of some landmarks, counted from 0 as in
      `affjax.heads.landmarks`, from which `completed` finds the others.

  Raises:
    ValueError: none of these, other counts, indices out of range, NaN.
  """
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


def read(given: str | pathlib.Path | Mapping) -> Mapping:
  """What a JSON file of landmarks holds, or what was given itself."""
  if isinstance(given, str | pathlib.Path):
    given = json.loads(pathlib.Path(given).read_text("utf-8"))
  kinds = ("vertices", "points", "faces", "some")
  if not isinstance(given, Mapping) or not any(kind in given for kind in kinds):
    found = list(given) if isinstance(given, Mapping) else type(given).__name__
    raise ValueError(f"landmarks need one of {kinds}, got {found}")
  return given


def places(
  given: Mapping, vertices: Float[np.ndarray, "v 3"], faces: np.ndarray
) -> Float[np.ndarray, "68 3"]:
  """Where 68 landmarks lie that are given as vertices, points, or on triangles."""
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
  """All 68 landmarks of a head of which only some are known, in head space.

  The head is laid on the embedded one by those, then takes over its landmarks: good to
  about 2 mm, the known ones exactly.

  Args:
    template: any head, upright, in any place.
    some: vertex of each known landmark, at least 8 of them all over the face.
  """
  if len(some) < _FEWEST:
    raise ValueError(f"landmarks: at least {_FEWEST} are needed, got {len(some)}")
  known, vertex = np.array(sorted(some.items())).T
  own, base = template.vertices[vertex].astype(np.float64), _embedded.load().template
  corner = base.vertices[base.faces[base.landmark_faces]]
  theirs = np.einsum("lk,lkx->lx", base.landmark_weights, corner).astype(np.float64)
  mean = _retargeting.laid_on(base, template, pairs=(theirs[known], own)).vertices
  faces = _main_faces(template, own)
  triangle, weights = surface.nearest_points(theirs, mean, faces)
  points = np.einsum("lk,lkx->lx", weights, template.vertices[faces[triangle]])
  # The known ones pull their neighbours along.
  slack = np.full(len(known), _registration.slack68().min())
  return _registration.radial_warp(points[known], own, slack * 0, points)


def _some(given: Mapping, count: int) -> dict[int, int]:
  """Numbers and vertices of the landmarks that are known."""
  some = {int(number): int(vertex) for number, vertex in given.items()}
  bad = {n: v for n, v in some.items() if not (0 <= n < 68 and 0 <= v < count)}
  if bad:
    raise ValueError(
      f"landmarks: numbers in [0, 68) name vertices in [0, {count}), got {bad}"
    )
  return some


def _in_main(template: Template, points: np.ndarray) -> np.ndarray:
  """Bool `[T]`: triangles of the group that most of the points lie on."""
  triangle, _ = surface.nearest_points(points, template.vertices, template.faces)
  group = np.bincount(template.face_groups[triangle]).argmax()
  return template.face_groups == group


def _main_faces(template: Template, points: np.ndarray) -> np.ndarray:
  return template.faces[_in_main(template, points)]
