"""Bilinear sampling, resizing and affine matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from affjax import ops
from affjax.ops import average_pool, bilinear, resize_bilinear, upsample_nearest


def _image(n=2, h=5, w=6, c=3, seed=0):
  return np.random.default_rng(seed).standard_normal((n, h, w, c)).astype(np.float32)


# Sampling.


def test_a_single_point():
  got = bilinear(_image(), np.ones((2, 2), np.float32))
  np.testing.assert_allclose(got, _image()[:, 1, 1])


@pytest.mark.parametrize("shape", [(3, 2), (4, 3, 2), (0, 2)])
def test_bilinear_matches_scipy(shape):
  x = _image()
  xy = np.random.default_rng(1).uniform(-2, 7, (2, *shape)).astype(np.float32)
  got = bilinear(x, xy)
  assert got.shape == (2, *shape[:-1], 3)
  for n in range(2):
    for c in range(3):
      padded = np.pad(x[n, :, :, c], 3)
      want = ndimage.map_coordinates(
        padded, [xy[n, ..., 1] + 3, xy[n, ..., 0] + 3], order=1
      )
      np.testing.assert_allclose(got[n, ..., c], want, atol=1e-5)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
  ("x", "xy", "message"),
  [
    (np.zeros((5, 6, 3), np.float32), np.zeros((5, 2), np.float32), "expected x"),
    (_image(), np.zeros((1, 4, 2), np.float32), "expected x"),
    (_image(), np.zeros((2, 4, 3), np.float32), "expected x"),
    (_image(h=0), np.zeros((2, 4, 2), np.float32), "at least one pixel"),
    (_image(), np.zeros((2, 4, 2), np.int32), "xy must be float32"),
  ],
)
def test_bilinear_errors(x, xy, message):
  with pytest.raises(ValueError, match=message):
    bilinear(x, xy)


def test_bilinear_gradient_matches_finite_differences():
  x = _image(n=1, c=2)
  rng = np.random.default_rng(2)
  # Away from the pixel grid, where the function has no kinks.
  xy = (rng.integers(-1, 6, (1, 9, 2)) + rng.uniform(0.2, 0.8, (1, 9, 2))).astype("f4")
  weight = rng.standard_normal((1, 9, 2)).astype(np.float32)
  loss = lambda x, xy: jnp.sum(bilinear(x, xy) * weight)
  grad_x, grad_xy = jax.grad(loss, (0, 1))(x, xy)
  run = jax.jit(loss)
  for got, which in ((grad_x, 0), (grad_xy, 1)):
    for place in list(np.ndindex(*got.shape))[::5]:
      ends = []
      for step in (0.05, -0.05):  # piecewise bilinear: a large step is exact
        args = [x.copy(), xy.copy()]
        args[which][place] += step
        ends.append(float(run(*args)))
      np.testing.assert_allclose(got[place], (ends[0] - ends[1]) / 0.1, atol=1e-3)


# Resizing.


def test_resize_keeps_edges_and_constants():
  x = np.arange(4, dtype=np.float32).reshape(1, 1, 4, 1)
  got = resize_bilinear(x, (1, 8))[0, 0, :, 0]
  np.testing.assert_allclose(got, [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3], atol=1e-6)
  same = resize_bilinear(_image(), (5, 6))
  np.testing.assert_array_equal(same, _image())
  ones = resize_bilinear(np.ones((1, 9, 7, 2), np.float32), (4, 4), antialias=True)
  np.testing.assert_allclose(ones, 1, atol=1e-6)


def test_upsample_nearest_crops_odd_sizes():
  x = np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)
  got = upsample_nearest(x, (3, 4))[0, :, :, 0]
  np.testing.assert_array_equal(got, [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3]])
  with pytest.raises(ValueError, match="doubles to 4x4"):
    upsample_nearest(x, (5, 4))


def test_average_pool_drops_what_is_left_over():
  x = np.arange(10, dtype=np.float32).reshape(1, 2, 5, 1)
  np.testing.assert_array_equal(average_pool(x, 2)[0, 0, :, 0], [3, 5])
  with pytest.raises(ValueError, match="factor must lie"):
    average_pool(x, 3)
  with pytest.raises(ValueError, match="size >= 1"):
    resize_bilinear(x, (0, 4))


# Affine matrices.


def test_absolute_frame_is_equation_two():
  rng = np.random.default_rng(3)
  height, width, stride = 7, 9, 2
  absolute = rng.standard_normal((1, 4, 5, 2, 3)).astype(np.float32)
  theta = ops.theta.from_absolute(absolute, height, width, stride)
  got = ops.theta.sample_xy(theta, 3, height, width, stride)
  half = np.array([(width - 1) / 2, (height - 1) / 2])
  for i, j, k in np.ndindex(4, 5, 9):
    place = np.array([stride * j + k % 3 - 1, stride * i + k // 3 - 1])
    want = absolute[0, i, j] @ [*(place / half - 1), 1.0]
    np.testing.assert_allclose(got[0, i, j, k], (want + 1) * half, atol=1e-4)


def test_absolute_identity_is_window_identity():
  one = ops.theta.identity((1, 3, 4))
  np.testing.assert_allclose(ops.theta.from_absolute(one, 5, 8, 2), one, atol=1e-6)
  single = ops.theta.identity((1, 1, 1))
  np.testing.assert_allclose(
    ops.theta.from_absolute(single, 1, 1, 1), single, atol=1e-6
  )


def test_compose_applies_the_right_one_first():
  rng = np.random.default_rng(4)
  a, b = rng.standard_normal((2, 5, 2, 3)).astype(np.float32)
  square = lambda m: np.concatenate([m, np.tile([[[0, 0, 1]]], (5, 1, 1))], 1)
  want = (square(a) @ square(b))[:, :2]
  np.testing.assert_allclose(ops.theta.compose(a, b), want, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_places_of_an_affine_map_give_its_matrix(stride):
  matrix = np.array([[0.8, 0.3, 2.0], [-0.2, 1.1, 1.0]], np.float32)
  # The window of an output pixel stands over the middle of its input pixels.
  columns, rows = np.meshgrid(np.arange(4), np.arange(5))
  middle = np.stack([columns, rows], -1) * stride + (stride - 1) / 2
  place = middle @ matrix[:, :2].T + matrix[:, 2]
  slopes = np.broadcast_to(stride * matrix[:, :2], (5, 4, 2, 2))
  places = np.concatenate([slopes, place[..., None]], -1)[None].astype(np.float32)
  theta = ops.theta.from_places(places, stride=stride)
  got = ops.theta.sample_xy(theta, 3, 5 * stride, 4 * stride, stride)
  taps = middle[:, :, None] + ops.theta.taps(3)
  want = taps @ matrix[:, :2].T + matrix[:, 2]
  np.testing.assert_allclose(got[0], want, atol=1e-5)
