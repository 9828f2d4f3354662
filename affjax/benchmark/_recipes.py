"""The benchmark sets that can be made, by name, and what each is painted from."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from affjax.benchmark import _samples
from affjax.benchmark._samples import Encoded, Sample
from affjax.data import SyntheticFaces
from affjax.geometry import uv
from affjax.heads import MorphableModel, open_head, retarget_model
from affjax.types import Template

COUNT, SIZE, MAP_SIZE, SEED = 1000, 512, 256, 20221010
# Raised when the same index gives another sample for a reason in this module.
_VERSION = 1
# Number of scan points, which lie within so many dm of the tip of the nose.
_SCAN_POINTS, _RADIUS, _NOSE_TIP = 600, 0.95, 30


@dataclasses.dataclass(frozen=True)
class Recipe:
  """The settings that determine the samples of a set, as JSON values.

  Attributes:
    name: Name of the set.
    head: Hash of the embedded head, in whose topology the truth is given.
    source: Version of the painting.
    seed: Seed of the samples.
    count: Number of samples.
    size: Side of the photos, px.
  """

  name: str
  head: str
  source: int
  seed: int = SEED
  count: int = COUNT
  size: int = SIZE

  @property
  def digest(self) -> str:
    """A short hash, which is part of the name of the folder."""
    text = json.dumps(dataclasses.asdict(self), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def recipe(name: str, *, count: int = COUNT, size: int = SIZE) -> Recipe:
  """Returns the recipe of a set for the embedded head of this version.

  Raises:
    ValueError: There is no set of that name.
  """
  if name not in _MODELS:
    raise ValueError(f"set must be one of {', '.join(_MODELS)}, got {name!r}")
  model = open_head("embedded")
  version = 100 * _VERSION + SyntheticFaces.VERSION
  return Recipe(name, fingerprint(model), version, count=count, size=size)


def fingerprint(model: MorphableModel) -> str:
  """Returns a hash of the arrays of a head model."""
  found = hashlib.sha256()
  for values in (
    model.template.vertices,
    model.template.faces,
    model.identity_basis,
    model.expression_basis,
  ):
    found.update(np.ascontiguousarray(values).tobytes())
  return found.hexdigest()[:16]


@dataclasses.dataclass(frozen=True, eq=False)
class Painter:
  """Makes the samples of a set.

  Attributes:
    faces: Source of the photos; its model has the topology of the embedded head.
    scanned: Model whose surface the scan points are taken from, with the coefficients
      of `faces.model`.
  """

  faces: SyntheticFaces
  scanned: MorphableModel

  @functools.cached_property
  def scan_points(self) -> tuple[np.ndarray, np.ndarray]:
    """Triangles and barycentric weights of the scan points on the mean head."""
    return _surface_points(self.scanned.template)

  def __call__(self, index: int) -> Encoded:
    """Returns the files of a sample."""
    exact = self.faces.exact(index)
    byte = lambda values: np.rint(np.asarray(values) * 255).astype(np.uint8)
    model = self.faces.model
    identity, expression = exact["identity"], exact["expression"]
    moved = np.tensordot(expression, model.expression_basis[: len(expression)], 1)
    scanned = np.asarray(
      self.scanned.vertices(jnp.asarray(identity), jnp.asarray(expression))
    )
    return _samples.encode(
      Sample(
        photo=byte(exact["image"]),
        visible=np.where(exact["visible"][..., 0] > 0.5, 255, 0).astype(np.uint8),
        vertices=exact["vertices"],
        pose=exact["pose"],
        diffuse=byte(exact["diffuse"]),
        light=exact["light"],
        light_color=exact["light_color"],
        expression_mm=_mean_move(moved, model.template),
        scan=self._scan(scanned),
      )
    )

  def _scan(self, vertices: Float[np.ndarray, "v 3"]) -> Float[np.ndarray, "p 3"]:
    template = self.scanned.template
    points = template.surface_points(vertices, *self.scan_points)
    tip = template.landmark_positions(vertices)[_NOSE_TIP]
    return points[np.linalg.norm(points - tip, axis=-1) < _RADIUS]


def painter(recipe: Recipe, ict: pathlib.Path | None) -> Painter:
  """Returns the painter of a recipe.

  Args:
    recipe: Recipe of this version of affjax.
    ict: Folder of ICT-FaceKit, for the set "ict".
  """
  painted, scanned = _MODELS[recipe.name](ict)
  faces = SyntheticFaces(
    painted,
    recipe.count,
    recipe.size,
    map_size=MAP_SIZE,
    seed=recipe.seed,
    split="test",
  )
  return Painter(faces, scanned)


def _embedded(ict: pathlib.Path | None) -> tuple[MorphableModel, MorphableModel]:
  del ict
  model = open_head("embedded")
  return model, model


def _ict(ict: pathlib.Path | None) -> tuple[MorphableModel, MorphableModel]:
  """Returns ICT's statistics in the topology of the embedded head, and ICT's own."""
  if ict is None:
    raise ValueError("the set 'ict' is made from ICT-FaceKit: name its folder by --ict")
  scanned, template = open_head(ict), open_head("embedded").template
  return retarget_model(scanned, template), scanned


_MODELS: dict[str, Callable[[Any], tuple[MorphableModel, MorphableModel]]] = {
  "embedded": _embedded,
  "ict": _ict,
}
SETS = tuple(_MODELS)


def _mean_move(moves: Float[np.ndarray, "v 3"], template: Template) -> float:
  """Returns the mean length of displacements over the face, mm."""
  table = uv.uv_table(template, 64)
  face = uv.resize_mask(template.masks["face"], 64) * table.inside
  lengths = np.linalg.norm(moves, axis=-1)
  texels = (lengths[table.corners] * table.weights).sum(-1)
  return float(100 * (texels * face).sum() / face.sum())


def _surface_points(template: Template) -> tuple[np.ndarray, np.ndarray]:
  """Returns random points of the mask "face" near the nose, uniform by area."""
  rng = np.random.default_rng(0)
  corners = template.vertices[template.faces].astype(np.float64)
  middle = template.uvs[template.faces_uv].mean(1)
  mask = template.masks["face"]
  column, row = np.rint(uv.uv_to_texel(middle, len(mask))).astype(int).T
  inside = mask[np.clip(row, 0, len(mask) - 1), np.clip(column, 0, len(mask) - 1)] > 0.5
  inside &= template.face_groups == template.group_names.index("skin")
  tip = template.landmark_positions(template.vertices)[_NOSE_TIP]
  inside &= np.linalg.norm(corners.mean(1) - tip, axis=-1) < 1.1 * _RADIUS
  area = np.linalg.norm(
    np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1
  )
  chance = area * inside
  triangle = rng.choice(len(area), _SCAN_POINTS, p=chance / chance.sum())
  weights = rng.dirichlet((1.0, 1.0, 1.0), _SCAN_POINTS).astype(np.float32)
  return triangle, weights
