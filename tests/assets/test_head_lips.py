"""The builder closes lips and keeps them closed, on two plates."""

import numpy as np
import pytest
from scipy import sparse

from experiments.assets import head_identity, head_lips
from experiments.assets.head_types import SKIN, HeadMesh

_GAP, _SIDE = 0.01, 13


def _plate(height: float, looks: int):
  """A level square before the teeth of the base mesh, and its triangles."""
  x, z = np.meshgrid(np.linspace(-0.2, 0.2, _SIDE), np.linspace(1.38, 1.6, _SIDE))
  index = np.arange(_SIDE**2).reshape(_SIDE, _SIDE)
  a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
  corners = [np.stack(t, -1).reshape(-1, 3) for t in ((a, d, c), (a, c, b))]
  points = np.stack([x, np.full_like(x, height), z], -1).reshape(-1, 3)
  return points, np.concatenate(corners)[:, ::looks]


@pytest.fixture(scope="module")
def lips():
  """The upper and the lower lip, and one mode that lifts the upper."""
  upper, faces = _plate(6.61 + _GAP, -1)
  lower, other = _plate(6.61, 1)
  points = np.concatenate([upper, lower])
  faces = np.concatenate([faces, other + len(upper)])
  none, size = np.zeros(0, int), sparse.identity(len(points), format="csr")
  mesh = HeadMesh(size, faces, np.full(len(faces), SKIN), none, none)
  mode = np.zeros((1, len(points), 3))
  mode[0, : len(upper), 1] = 1
  return head_identity.Identity(points, mode, np.ones(1)), mesh


def test_lips_meet(lips):
  identity, mesh = lips
  line, gap = head_lips._line(identity.mean, mesh.faces)
  np.testing.assert_allclose(gap, _GAP, atol=1e-9)
  assert line[-1, 0] == pytest.approx(0.2)
  closed, _ = head_lips.closed(identity, mesh, identity.mean)
  _, gap = head_lips._line(closed.mean, mesh.faces)
  np.testing.assert_allclose(gap, -head_lips._PRESSED, atol=1e-3)


def test_modes_move_both_lips_alike_where_they_meet(lips):
  identity, mesh = lips
  closed, free = head_lips.closed(identity, mesh, identity.mean)
  near = closed.basis[0, :, 1].reshape(2, -1)
  where = np.isclose(near, 0.5, atol=1e-6)
  np.testing.assert_array_equal(where[0], where[1])
  assert where[0].any()
  np.testing.assert_array_equal(closed.basis[:, free], identity.basis[:, free])
  assert 0 < free.sum() < free.size


def test_heights_and_directions_of_cuts():
  corners = np.array([[[0, 1, 0], [0, 1, 1], [1, 2, 0]]], float)
  place = np.array([[0.25, 0.25], [0.9, 0.9]])
  for side in (1, -1):
    height, looks = head_lips._cuts(corners[:, ::side], place)
    np.testing.assert_allclose(height, [[1.25], [np.nan]])
    np.testing.assert_array_equal(looks, [side])


def test_modes_of_another_build_are_found_again():
  rng = np.random.default_rng(0)
  basis = rng.standard_normal((4, 30, 3))
  turned = np.tensordot(np.linalg.qr(rng.standard_normal((4, 4)))[0], basis, 1)
  used = np.arange(30) < 20
  spoiled = np.where(used[:, None], turned, 0)
  np.testing.assert_allclose(head_identity.mixed(basis, spoiled, used), turned)
