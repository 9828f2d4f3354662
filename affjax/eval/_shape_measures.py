"""Measures of shapes: positions, distances, scans, normals, depths.

Each is a function of `Cases` to one number a head, by part; see `MEASURES`.
"""

import functools
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from affjax.eval import _geometry, _texels
from affjax.eval._alignment import align, alignment_of
from affjax.eval._cases import Cases, Heads
from affjax.eval._depth import DepthErrors, depth_errors
from affjax.eval._scan import scan_distances
from affjax.geometry import depth as depth_geometry
from affjax.geometry.camera import head_to_world

# Values of each head by part: "" is the whole, the others are regions.
Values = Mapping[str, Float[np.ndarray, " n"]]
# Side of the depth maps of SIDE and MAD: normals of other sizes cannot be compared.
_DEPTH_SIZE = 64
_OUTER_EYES = (36, 45)
# The regions of REALY, and the number of scan points that one needs.
_SCAN_REGIONS, _LEAST_POINTS = ("nose", "mouth", "forehead", "cheeks"), 12


def positions(cases: Cases, alignment: str) -> Values:
  """Mean absolute difference of a coordinate, dm, by region."""
  moved = cases.aligned_texels(alignment)
  apart = np.abs(moved - cases.true_texels.reshape(moved.shape)).mean(-1)
  return _by_region(apart, cases)


def distances(cases: Cases, alignment: str) -> Values:
  """Mean distance of corresponding points, mm, by region."""
  moved = cases.aligned_texels(alignment)
  apart = np.linalg.norm(moved - cases.true_texels.reshape(moved.shape), axis=-1)
  return _by_region(100 * apart, cases)


def distances_percent(cases: Cases) -> Values:
  """The same after a similarity, percent of the distance of the outer eye corners."""
  marks = cases.template.landmark_positions(cases.truths.vertices)
  eyes = np.linalg.norm(marks[:, _OUTER_EYES[0]] - marks[:, _OUTER_EYES[1]], axis=-1)
  return {
    part: values / eyes for part, values in distances(cases, "similarity").items()
  }


def _by_region(values: Float[np.ndarray, "n p"], cases: Cases) -> Values:
  parts = {"" if part == "face" else part: w for part, w in cases.regions.items()}
  return {part: values @ w.ravel() / w.sum() for part, w in parts.items()}


def scans(cases: Cases) -> Values:
  """Mean distance of scan points from the surface after a similarity ICP, mm."""
  return {"": np.array([found.distances.mean() for found in cases.laid])}


def scans_by_region(cases: Cases) -> Values:
  """The same where each region of the scan is laid on the surface once more, mm.

  That is the manner of REALY, whose four regions these are: each tells its own shape,
  not its place in the face. The value of the whole is their mean.
  """
  truths, template = cases.truths, cases.template
  assert truths.scans is not None
  values = {part: np.full(len(truths), np.nan) for part in ("", *_SCAN_REGIONS)}
  rows = zip(truths.scans, truths.vertices, cases.laid, cases.skins, strict=True)
  for k, (points, true, laid, skin) in enumerate(rows):
    labels = _texels.region_of(points, true, template)
    for part in _SCAN_REGIONS:
      chosen = points[labels == part]
      if len(chosen) >= _LEAST_POINTS:
        found = scan_distances(chosen, laid.vertices, skin.faces, steps=10)
        values[part][k] = found.distances.mean()
  values[""] = np.mean([values[part] for part in _SCAN_REGIONS], 0)
  return values


def normals(cases: Cases) -> Values:
  """Mean angle between normals over the face that the photo shows, degrees.

  The heads are turned by the rotation of the similarity on the face.
  """
  flat = lambda maps: maps.reshape(len(maps), -1, 3)
  turn = np.asarray(
    align(
      flat(cases.head_texels), flat(cases.true_texels), cases.face.ravel(), scaled=True
    ).rotation
  )
  true, own = (
    flat(_texels.normal_texels(vertices, cases.template))
    for vertices in (cases.truths.vertices, cases.heads.vertices)
  )
  own = np.einsum("npj,nij->npi", own, turn)
  shown = cases.shown.reshape(len(turn), -1)
  return {
    "" if part == "face" else part: np.asarray(
      _geometry.normal_error(own, true, (shown * weights.ravel()).astype(np.float32))
    )
    for part, weights in cases.regions.items()
  }


def depths(cases: Cases, alignment: str, which: str) -> Values:
  """SIDE (times 100) or MAD of 64² depth maps, protocol "mesh" of `depth_errors`."""
  found = _depth_errors(cases, alignment)
  return {"": np.asarray(100 * found.side if which == "side" else found.mad)}


@functools.lru_cache(maxsize=4)
def _depth_errors(cases: Cases, alignment: str) -> DepthErrors:
  """Returns both errors in Unsup3D's view; both measures ask for the same one."""
  truths = cases.truths
  camera = depth_geometry.camera(truths.camera, _DEPTH_SIZE)
  maps = functools.partial(
    _texels.depth_maps, template=cases.template, camera=camera, size=_DEPTH_SIZE
  )
  if isinstance(cases.answers, Heads):
    depth = maps(_in_photo(cases, alignment))
  else:
    rows = zip(cases.laid, cases.answers.faces, truths.pose, strict=True)
    depth = np.stack(
      [
        _texels.surface_depth(
          np.asarray(head_to_world(found.vertices.astype(np.float32), pose)),
          faces,
          camera,
          _DEPTH_SIZE,
        )
        for found, faces, pose in rows
      ]
    )
  depth, truth = (values / camera.distance for values in (depth, maps(truths.world)))
  return depth_errors(depth, truth, protocol="mesh")


def _in_photo(cases: Cases, alignment: str) -> Float[np.ndarray, "n v 3"]:
  """Returns posed heads after an alignment with the true ones on the face."""
  own, pose = cases.heads.vertices, cases.heads.pose
  if alignment != "similarity":
    assert pose is not None
    own = np.asarray(head_to_world(own, pose.astype(np.float32)))
  flat = lambda world: _texels.texels(world, cases.template).reshape(len(world), -1, 3)
  places = flat(own), flat(cases.truths.world)
  found = alignment_of(*places, cases.face.ravel(), alignment)
  return np.asarray(found(own))
