"""A richer identity space: the people's covariance plus a smooth Gaussian process.

A Gaussian-process morphable model (Luethi et al. 2017). Displacements added to those of
MakeHuman's people are smooth functions of space, so that both lips, and the lids and
the eyeball between them, move together: sums of Gaussian kernels of several lengths,
mostly along the blurred normal of the skin, with an amplitude for each region. The sum
of both covariances is reduced to the modes of largest variance; each is symmetric or
antisymmetric under the mirror.

Lengths and regions were chosen by hand so that random heads look like people. The
amplitudes are the most likely ones for half of ICT-FaceKit's identity modes, as
`python -m experiments.assets.head_amplitudes` printed them;
`experiments/tables/head_space.py` measures the result on the other half.
"""

import dataclasses

import numpy as np

from experiments.assets import head_regions, head_space_parts
from experiments.assets.head_identity import Identity
from experiments.assets.head_space_parts import Region
from experiments.assets.head_types import HeadMesh


@dataclasses.dataclass(frozen=True)
class Kernel:
  """A Gaussian kernel of the process.

  Attributes:
    length: dm.
    normal: standard deviation along the normal where the amplitude is 1, dm.
    tangent: the same along each direction across it, dm; 0 leaves those out.
    regions: the amplitude's bumps; 1 on the face elsewhere.
    off_face: amplitude on scalp, ears and neck.
  """

  length: float
  normal: float
  tangent: float
  regions: tuple[Region, ...]
  off_face: float


_COARSE = (
  Region((0.0, 6.2, 1.2), 0.3, 1.3),
  Region((0.55, 6.5, 0.85), 0.35, 1.2),
  Region((0.0, 6.95, 1.5), 0.3, 1.2),
)
_FINE = (
  Region((0.0, 6.95, 1.5), 0.25, 1.4),
  Region((0.0, 6.61, 1.4), 0.18, 0.6),
  Region((0.3, 7.28, 1.2), 0.16, 0.5),
)
KERNELS = (
  Kernel(0.7, 0.030, 0.021, _COARSE, 0.5),
  Kernel(0.35, 0.022, 0.011, _COARSE, 0.25),
  Kernel(0.2, 0.013, 0.006, _FINE, 0.03),
  Kernel(0.11, 0.005, 0.0, _FINE, 0.0),
)
# What the standard deviation of MakeHuman's people is multiplied with: with the process
# added, faces vary about as much as before, the rest of the head by a third less.
PEOPLE_SHARE = 0.55
# Share of the standard deviation that the antisymmetric part keeps.
_ASYMMETRY = 0.19
# Share of a kernel's variance that its factors may leave out at a vertex.
_UNEXPLAINED = 0.03
# Vertices count in the reduction by area and place: face, then eyes, nose and mouth.
_OFF_FACE_WEIGHT = 0.05
_OVERSAMPLED, _POWER_ROUNDS = 30, 3


def enriched(
  identity: Identity,
  mesh: HeadMesh,
  base: np.ndarray,
  *,
  symmetric: int,
  antisymmetric: int,
  kernels: tuple[Kernel, ...] = KERNELS,
  seed: int = 0,
) -> Identity:
  """Adds the process to the people's modes and keeps the largest modes of the sum.

  Args:
    identity: mean and modes of the people.
    mesh: the head.
    base: `[V, 3]`, the head of the base mesh, where regions are told apart.
    symmetric: number of symmetric modes to keep.
    antisymmetric: number of antisymmetric modes to keep.
    kernels: of the process.
    seed: of the random start of the reduction.
  """
  added = process(identity.mean, mesh, base, kernels)
  people = PEOPLE_SHARE * identity.basis.reshape(len(identity.basis), -1)
  both = np.concatenate([people, added])
  flipped = _mirrored(both, mesh)
  weights = np.sqrt(np.repeat(_reduction_weights(identity.mean, mesh, base), 3))
  rng = np.random.default_rng(seed)
  share = np.ones(len(both))
  even = _largest((both + flipped) / 2, weights, symmetric, rng)
  share[len(identity.basis) :] = _ASYMMETRY
  odd = _largest(share[:, None] * (both - flipped) / 2, weights, antisymmetric, rng)
  modes = np.concatenate([even, odd]).reshape(-1, *identity.mean.shape)
  modes = head_space_parts.relaxed(modes, identity.mean, mesh, rng)
  std = np.sqrt((modes**2).sum(-1).mean(-1))
  order = np.argsort(-std, kind="stable")
  return Identity(identity.mean, modes[order], std[order])


def process(
  points: np.ndarray, mesh: HeadMesh, base: np.ndarray, kernels: tuple[Kernel, ...]
) -> np.ndarray:
  """Factors `[M, 3 V]` of the process: a sum of them with N(0, 1) weights is a draw."""
  moves = factors(points, mesh, base, kernels)
  return _without_camera(moves, points, base)


def factors(
  points: np.ndarray, mesh: HeadMesh, base: np.ndarray, kernels: tuple[Kernel, ...]
) -> np.ndarray:
  """Factors `[M, V, 3]` of the process before it is conditioned."""
  normals = head_space_parts.blurred_normals(points, mesh)
  across = np.eye(3) - normals[:, :, None] * normals[:, None]
  face = head_regions.step(head_regions.face_distance(base), -0.3, 0.05)
  parts = []
  for kernel in kernels:
    amplitude = kernel.off_face + (1 - kernel.off_face) * face
    amplitude *= head_space_parts.amplitude(base, kernel.regions)
    scalar = _gaussian_factors(points, kernel.length, amplitude)
    fields = [kernel.normal * normals] if kernel.normal else []
    fields += [kernel.tangent * across[:, i] for i in range(3) if kernel.tangent]
    parts += [(scalar[..., None] * field).astype(np.float32) for field in fields]
  moves = np.concatenate(parts)
  moves *= (1 - head_regions.neck_falloff(base))[:, None].astype(np.float32)
  return head_space_parts.with_rigid_parts(moves, points, mesh)


def _gaussian_factors(points, length: float, amplitude) -> np.ndarray:
  """Factors `[R, V]` of a Gaussian kernel times amplitudes: pivoted Cholesky."""
  left = amplitude**2
  floor = _UNEXPLAINED * left.max()
  factors: list[np.ndarray] = []
  while left.max() > floor:
    pivot = int(left.argmax())
    squared = ((points - points[pivot]) ** 2).sum(1)
    row = amplitude * amplitude[pivot] * np.exp(-squared / (2 * length**2))
    if factors:
      before = np.stack(factors)
      row = row - before[:, pivot] @ before
    factors.append(row / np.sqrt(left[pivot]))
    left = np.maximum(left - factors[-1] ** 2, 0)
    left[pivot] = 0
  return np.stack(factors)


def _without_camera(moves, points, base) -> np.ndarray:
  """The factors of the process, given that no draw looks like another view.

  The Gaussian process conditioned on eight weighted moments being zero: those of a
  shift, a turn, a change of size, and of what a nearer camera does to a picture of the
  face. The neck's end and other places that do not move stay at rest.
  """
  weights = head_regions.alignment_weights(base)
  centered = points - (weights[:, None] * points).sum(0) / weights.sum()
  x, y, z = centered.T
  o, one = np.zeros_like(x), np.ones_like(x)
  rows = ((one, o, o), (o, one, o), (o, o, one), (o, -z, y), (z, o, -x), (-y, x, o))
  moments = [weights[:, None] * np.stack(row, -1) for row in (*rows, (x, y, z))]
  moments.append(_face_weights(base)[:, None] * np.stack((x * z, y * z, o), -1))
  read = np.stack([moment.reshape(-1) for moment in moments])
  flat = moves.reshape(len(moves), -1)
  q, _ = np.linalg.qr(flat @ read.T.astype(np.float32))
  return flat - q @ (q.T @ flat)


def _mirrored(factors: np.ndarray, mesh: HeadMesh) -> np.ndarray:
  moves = factors.reshape(len(factors), -1, 3)[:, mesh.mirror]
  return (moves * np.array([-1, 1, 1], moves.dtype)).reshape(factors.shape)


def _reduction_weights(points, mesh: HeadMesh, base) -> np.ndarray:
  weights = _OFF_FACE_WEIGHT + (1 - _OFF_FACE_WEIGHT) * _face_weights(base)
  return weights * head_space_parts.vertex_areas(points, mesh.faces)


def _face_weights(base) -> np.ndarray:
  return head_regions.step(head_regions.face_distance(base), -0.2, 0.1)


def _largest(factors, weights, number: int, rng) -> np.ndarray:
  """Modes `[number, 3 V]` of largest weighted variance of a factored covariance.

  Block power iteration (Halko et al. 2011) in the metric of the weights.
  """
  scaled = (factors * weights).astype(np.float32)
  block = rng.standard_normal((number + _OVERSAMPLED, len(scaled))).astype(np.float32)
  for _ in range(_POWER_ROUNDS):
    block = (block @ scaled) @ scaled.T
    block = np.linalg.qr(block.T)[0].T
  # Rows of the block span the largest left singular vectors of the factors.
  _, size, right = np.linalg.svd(block @ scaled, full_matrices=False)
  modes = size[:number, None] * right[:number].astype(np.float64) / weights
  peak = np.abs(modes).argmax(1)
  return modes * np.sign(modes[np.arange(number), peak])[:, None]
