"""Measures the amplitudes in `head_space.py` on half of ICT-FaceKit's identity modes.

    AFFJAX_SHARED=../shared python -m experiments.assets.head_amplitudes

The odd modes, carried to the embedded head, are a sample of real faces' covariance;
twice, because they are half of it. The amplitudes are those of greatest likelihood
(Rasmussen and Williams 2006, section 5.4) at places spread over the face, without the
part of a similarity. Prints them, and the likelihood of both halves; the even modes are
used for nothing else. A minute; the built head does not depend on the folder.
"""

import argparse
import dataclasses

import numpy as np
from scipy import linalg, optimize

from affjax.heads import Retargeter, open_head
from experiments.assets import (
  head,
  head_identity,
  head_regions,
  head_source,
  head_space,
)
from experiments.assets.head_types import SKIN, HeadMesh
from experiments.tables import heads_at_hand

# Number of places, and standard deviation of the carried modes' errors, dm.
_PLACES, _NOISE = 200, 0.003
# Depth of the places inside the face, and their least z, dm.
_DEPTH, _FRONT = 0.0, 0.8
_MODES = 100


@dataclasses.dataclass(frozen=True, eq=False)
class Covariances:
  """What the likelihood compares, on `[D, D]` without the part of a similarity.

  Attributes:
    even: `[A, D, D]`, mirror-symmetric part of the people and of each kernel.
    odd: `[A, D, D]`, their antisymmetric part.
    real: `[2, D, D]`, of ICT's odd and even modes.
  """

  even: np.ndarray
  odd: np.ndarray
  real: np.ndarray

  def modeled(self, logs: np.ndarray) -> np.ndarray:
    """Covariance of log amplitudes and the log share of the antisymmetric part."""
    squared, share = np.exp(2 * logs[:-1]), np.exp(2 * logs[-1])
    shares = np.where(np.arange(len(squared)) == 0, 1, share)
    return (
      np.tensordot(squared, self.even, 1)
      + np.tensordot(squared * shares, self.odd, 1)
      + _NOISE**2 * np.eye(self.even.shape[1])
    )

  def cost(self, logs: np.ndarray, half: int) -> tuple[float, np.ndarray]:
    """Negative log likelihood for each number, and its gradient."""
    factor = linalg.cho_factor(self.modeled(logs), lower=True)
    solved = linalg.cho_solve(factor, self.real[half])
    count = len(solved)
    value = np.log(np.diag(factor[0])).sum() + np.trace(solved) / 2
    pull = linalg.cho_solve(factor, np.eye(count) - solved.T)
    squared, share = np.exp(2 * logs[:-1]), np.exp(2 * logs[-1])
    even, odd = (np.tensordot(c, pull, 2) * squared for c in (self.even, self.odd))
    odd[1:] *= share
    return value / count, np.append(even + odd, odd[1:].sum()) / count


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--package", help=f"the file of {head_source.PACKAGE}")
  parts = head.parts(head_source.open_source(parser.parse_args().package))
  covariances = measured(*parts)
  logs = most_likely(covariances, np.log(head_space.PEOPLE_SHARE))
  values, asymmetry = np.exp(logs[:-1]), np.exp(logs[-1])
  for kernel, normal, tangent in zip(
    head_space.KERNELS, values[1::2], values[2::2], strict=True
  ):
    print(f"length {kernel.length}: normal {normal:.4f}, tangent {tangent:.4f} dm")
  print(f"asymmetry {asymmetry:.3f}; the people's share is {values[0]:.3f}")
  for half, name in enumerate(("odd", "even")):
    likelihood = -covariances.cost(logs, half)[0]
    print(f"log likelihood of the {name} modes, for each number: {likelihood:.4f}")


def most_likely(covariances: Covariances, people: float) -> np.ndarray:
  """Log amplitudes most likely for ICT's odd modes; the first is given.

  Args:
    covariances: of the parts.
    people: log of the people's share.
  """
  kernels = len(covariances.even) - 1
  bounds = [(people, people), *[(np.log(1e-4), 0)] * kernels, (np.log(0.05), 0)]
  start = np.array([people, *[np.log(0.01)] * kernels, -1.0])
  return optimize.minimize(
    covariances.cost, start, (0,), jac=True, method="L-BFGS-B", bounds=bounds
  ).x


def measured(
  identity: head_identity.Identity, mesh: HeadMesh, base: np.ndarray
) -> Covariances:
  """Covariances of the people, the kernels at amplitude 1, and ICT's halves, dm."""
  points = identity.mean
  moves, carried = _carried_modes(np.ptp(points[:, 0]))
  places = _places(points, mesh, base, carried)
  mirror = np.argsort(places)[np.searchsorted(np.sort(places), mesh.mirror[places])]
  free = linalg.null_space(_similarity(points[places]).T)

  def halves(factors: np.ndarray) -> list[np.ndarray]:
    here = factors.reshape(len(factors), -1, 3)[:, places].astype(np.float64)
    flipped = here[:, mirror] * [-1, 1, 1]
    return [squared((here + sign * flipped) / 2) for sign in (1, -1)]

  def squared(factors: np.ndarray) -> np.ndarray:
    read = factors.reshape(len(factors), -1) @ free
    return read.T @ read

  fields = [identity.basis]
  for kernel in head_space.KERNELS:
    for normal, tangent in ((1.0, 0.0), (0.0, 1.0)):
      one = dataclasses.replace(kernel, normal=normal, tangent=tangent)
      fields.append(head_space.factors(points, mesh, base, (one,)))
  even, odd = (np.stack(c) for c in zip(*map(halves, fields), strict=True))
  real = [2 * squared(moves[start::2, places]) for start in (1, 0)]
  return Covariances(even, odd, np.stack(real))


def _carried_modes(width: float) -> tuple[np.ndarray, np.ndarray]:
  """ICT's modes `[K, V, 3]` on a mean head of that width, and where they are known."""
  ict, template = heads_at_hand.ict(_MODES), open_head("embedded").template
  carry = Retargeter(ict.template, template)
  scale = width / np.ptp(template.vertices[:, 0])
  return scale * np.asarray(carry.move(ict.identity_basis)), carry.carried


def _places(points, mesh: HeadMesh, base, carried) -> np.ndarray:
  """Vertices spread over the front of the face, with those of the other side."""
  known = np.zeros(len(points), bool)
  known[mesh.faces[mesh.parts == SKIN]] = True
  known &= (head_regions.face_distance(base) > _DEPTH) & (base[:, 2] > _FRONT) & carried
  candidates = np.flatnonzero(known & known[mesh.mirror])
  chosen = [candidates[points[candidates, 2].argmax()]]
  distance = np.full(len(candidates), np.inf)
  while len(chosen) < _PLACES:
    for new in (chosen[-1], mesh.mirror[chosen[-1]]):
      squared = ((points[candidates] - points[new]) ** 2).sum(1)
      distance = np.minimum(distance, squared)
    chosen.append(candidates[distance.argmax()])
  return np.unique(np.concatenate([chosen, mesh.mirror[chosen]]))


def _similarity(points: np.ndarray) -> np.ndarray:
  """Displacements `[3 P, 7]` of shifts, turns and growth."""
  x, y, z = (points - points.mean(0)).T
  o, one = np.zeros_like(x), np.ones_like(x)
  rows = (
    (one, o, o), (o, one, o), (o, o, one),
    (o, -z, y), (z, o, -x), (-y, x, o), (x, y, z),
  )  # fmt: skip
  return np.stack([np.stack(row, -1).reshape(-1) for row in rows], -1)


if __name__ == "__main__":
  main()
