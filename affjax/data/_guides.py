"""Coarse heads for training: true heads, degraded to what a fit knows of them.

At inference a guided network corrects the head that `affjax fit` makes. In training the
true head is known, and a fit to each photo would cost more than a training step. What
a fit gets right and wrong was measured instead (`experiments/geometry/guides.py`, on
held-out synthetic photos, `experiments/results/guides.json`): of each coefficient of
the model it knows a part, to which it adds an error of its own, and its pose is the one
in which its own head lies on the true one, up to a turn and an error in depth.
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.data._record_source import Record
from affjax.geometry import rotation
from affjax.heads import MorphableModel, sample_expression
from affjax.ops import average_pool, resize_bilinear
from affjax.types import ArrayLike, Guide

NOISE = "guide_noise"
"""Name of the field of a record that holds the random numbers of its guide."""

# A fit gets a share of a true coefficient, beyond the mean of people, and adds an
# error: gain and standard deviation of the error, of identity modes below a number, and
# of expression units by the start of their name.
MODE_GROUPS = {8: (0.12, 0.27), 16: (0.04, 0.16), 48: (0.02, 0.11), 80: (0.01, 0.06)}
UNIT_GROUPS = {
  "mouthSmile": (0.37, 0.11),
  "jawOpen": (0.19, 0.04),
  "cheekSquint": (0.29, 0.05),
  "eyeBlink": (0.07, 0.06),
  "eye": (0.0, 0.07),
  "": (0.11, 0.04),
}
_MODES = max(MODE_GROUPS)
# Standard deviations of the error of a pose: rotation (rad) about a point between eyes,
# which a fit places well, and translation (dm).
_POSE = (0.085, 0.050, 0.020, 0.008, 0.016, 0.65)
_PIVOT = (0.0, 0.0, 0.55)
# Shares of training samples without a guide, and with a wrong one; the standard
# deviations of the pose of a wrong one; share of the others without a map of skin.
_NONE, _WRONG, _BARE = 0.1, 0.05, 0.3
_WRONG_POSE = (0.3, 0.5, 0.3, 0.2, 0.2, 1.0)
# Numbers of a record's noise: coefficients, pose, and two that decide.
_COEFFICIENTS = 160
_LENGTH = _COEFFICIENTS + 8
# Side of the maps of skin, px: a mask that the regions network predicts is no sharper.
_SKIN = 64
# Every so many vertices the head is read.
_STEP = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Degradation:
  """The function from true heads to coarse ones; pure, for use under `jit`.

  Attributes:
    points: Vertices that are read, `[P]`.
    mean: Mean head, `[V, 3]`, dm.
    reading: Coefficients by displacements of the points, `[D, 3 P]`.
    modes: Displacements of all vertices by coefficients, `[D, V, 3]`.
    usual: Mean of each coefficient over people, `[D]`.
    gain: Share of each true coefficient's difference from it that a fit gets, `[D]`.
    error: Standard deviation of each coefficient's error, `[D]`.
    prior: Standard deviation of each coefficient over people, `[D]`.
    rigid: Small rotation and translation by displacements of the points, `[6, 3 P]`.
  """

  points: np.ndarray
  mean: np.ndarray
  reading: np.ndarray
  modes: np.ndarray
  usual: np.ndarray
  gain: np.ndarray
  error: np.ndarray
  prior: np.ndarray
  rigid: np.ndarray

  def __call__(self, record: Mapping[str, ArrayLike]) -> Guide:
    """Returns the guides of stacked records with a field `NOISE`."""
    vertices = jnp.asarray(record["vertices"], jnp.float32)
    noise = jnp.asarray(record[NOISE], jnp.float32)
    wrong = noise[:, -1:] < _WRONG
    none = noise[:, -1] > 1 - _NONE
    coarse = self._coarse(vertices, noise[:, : len(self.gain)], wrong)
    pose = self._pose(
      vertices, coarse, jnp.asarray(record["pose"], jnp.float32), noise, wrong
    )
    known = jnp.asarray(record["has_pose"], jnp.float32) * (1 - none)
    skin = _soft(jnp.asarray(record["visible"]).astype(jnp.float32) / 255)
    bare = (noise[:, -2] < _BARE)[:, None, None, None]
    return Guide(coarse, pose, known, jnp.where(bare, 1.0, skin))

  def _coarse(
    self,
    vertices: Float[Array, "n v 3"],
    noise: Float[Array, "n d"],
    wrong: Array,
  ) -> Float[Array, "n v 3"]:
    """Returns the heads of fits; a wrong one is of somebody else."""
    true = self._away(vertices, jnp.asarray(self.mean)[None]) @ self.reading.T
    usual, gain = self.usual[None], self.gain[None]
    fitted = usual + gain * (true - usual) + self.error[None] * noise
    found = jnp.where(wrong, usual + self.prior[None] * noise, fitted)
    return jnp.asarray(self.mean)[None] + jnp.tensordot(found, self.modes, 1)

  def _pose(
    self,
    vertices: Float[Array, "n v 3"],
    coarse: Float[Array, "n v 3"],
    pose: Float[Array, "n 6"],
    noise: Float[Array, "n e"],
    wrong: Array,
  ) -> Float[Array, "n 6"]:
    """Returns poses in which coarse heads lie on the true ones, up to errors."""
    errors = jnp.where(wrong, jnp.array([_WRONG_POSE]), jnp.array([_POSE]))
    errors = errors * noise[:, -8:-2]
    step = self._away(vertices, coarse) @ self.rigid.T
    own, turn, other = (
      rotation.axis_angle_to_matrix(vector[:, :3]) for vector in (step, pose, errors)
    )
    moved = lambda matrix, point: jnp.einsum("nij,nj->ni", matrix, point)
    pivot = moved(turn, jnp.broadcast_to(jnp.array([_PIVOT]), step[:, :3].shape))
    shift = pose[:, 3:] + moved(turn, step[:, 3:]) + errors[:, 3:]
    shift = shift + pivot - moved(other, pivot)
    turn = jnp.einsum("nij,njk,nkl->nil", other, turn, own)
    return jnp.concatenate([rotation.matrix_to_axis_angle(turn), shift], -1)

  def _away(
    self, vertices: Float[Array, "n v 3"], other: Float[Array, "m v 3"]
  ) -> Float[Array, "n p"]:
    """Returns the displacements of the points from those of other heads."""
    return (vertices - other)[:, self.points].reshape(len(vertices), -1)


@functools.lru_cache(maxsize=2)
def degradation(model: MorphableModel) -> Degradation:
  """Returns the degradation of the heads of a model."""
  points = np.arange(0, len(model.template.vertices), _STEP)
  points = points[model.template.vertices[points, 2] > 0]
  identity = model.identity_basis[:_MODES]
  units = model.expression_basis[: _COEFFICIENTS - len(identity)]
  expressions = sample_expression(np.random.default_rng(0), model, 2000)
  usual = np.concatenate([np.zeros(len(identity)), expressions.mean(0)[: len(units)]])
  modes = np.concatenate([identity, units]).astype(np.float32)
  gain, error, prior = _profile(model, len(identity), len(units))
  # Ridge regression: the modes that are not read are noise of their own size.
  rest = (model.identity_basis[_MODES:, points] ** 2).sum(0).mean() + 1e-8
  a = modes[:, points].reshape(len(modes), -1).astype(np.float64)
  inverse = np.linalg.inv(a @ a.T / rest + np.diag(1 / prior**2))
  return Degradation(
    points=points,
    mean=model.template.vertices,
    reading=(inverse @ a / rest).astype(np.float32),
    modes=modes,
    usual=usual.astype(np.float32),
    gain=gain,
    error=error,
    prior=prior,
    rigid=_rigid(model.template.vertices[points]),
  )


def with_guide_noise(record: Record, rng: np.random.Generator) -> Record:
  """Returns a record with the random numbers of its guide."""
  normal = rng.standard_normal(_LENGTH - 2)
  noise = np.concatenate([normal, rng.random(2)]).astype(np.float32)
  return {**record, NOISE: noise}


def _profile(
  model: MorphableModel, identity: int, units: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns gain, error and prior deviation of each coefficient."""
  rows = [
    next(row for end, row in MODE_GROUPS.items() if k < end) for k in range(identity)
  ]
  rows += [
    next(row for start, row in UNIT_GROUPS.items() if name.startswith(start))
    for name in model.expression_names[:units]
  ]
  gain, error = np.array(rows, np.float32).T
  prior = np.array([1.0] * identity + [0.15] * units, np.float32)
  return gain, error, prior


def _rigid(points: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "6 q"]:
  """Returns small rotations and translations by displacements, in least squares."""
  turned = np.cross(np.eye(3)[None], points[:, None])
  moved = np.broadcast_to(np.eye(3)[None], turned.shape)
  both = np.concatenate([turned, moved], 1).transpose(0, 2, 1).reshape(-1, 6)
  return np.linalg.pinv(both).astype(np.float32)


def _soft(visible: Float[Array, "n h w 1"]) -> Float[Array, "n h w 1"]:
  """Returns a mask as soft as a predicted one."""
  _, height, width, _ = visible.shape
  factor = max(1, min(height, width) // _SKIN)
  return resize_bilinear(average_pool(visible, factor), (height, width))
