"""nvdiffrast's kernels, through the adapter, against affjax's own primitives.

Each test runs on the CPU (`nvdiffrast_on_host`) and on a GPU; the latter it never has,
for want of one.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from affjax import render
from third_party import nvdiffrast_jax

pytestmark = pytest.mark.slow

BATCH, HEIGHT, WIDTH = 2, 21, 26
SIZE = (HEIGHT, WIDTH)


def _random(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _loose_triangles(seed, count=6):
  """Triangles that share no vertex, each at a depth of its own."""
  rng = np.random.default_rng(seed)
  center = rng.uniform(-0.8, 0.8, (BATCH, count, 1, 2))
  xy = center + rng.normal(size=(BATCH, count, 3, 2)) * 0.5
  z = np.broadcast_to(rng.uniform(-0.5, 0.5, (BATCH, count, 1, 1)), xy[..., :1].shape)
  w = rng.uniform(1, 2, z.shape)
  pos = np.concatenate([xy * w, z * w, w], -1).reshape(BATCH, 3 * count, 4)
  return pos.astype(np.float32), np.arange(3 * count, dtype=np.int32).reshape(-1, 3)


def _cubes(seed):
  corner = np.indices((2, 2, 2)).reshape(3, 8).T * 2.0 - 1
  tri = [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]]
  tri += [[2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
  turn = Rotation.random(BATCH, random_state=seed).as_matrix()
  xyz = np.einsum("bij,vj->bvi", turn, corner) * 0.5
  pos = np.concatenate([1.5 * xyz[..., :2], xyz[..., 2:] / 2, 2 + xyz[..., 2:]], -1)
  return pos.astype(np.float32), np.array(tri, np.int32)


def _raster(pos, tri, size=SIZE):
  return render.rasterize_with_derivatives(pos, tri, size, backend="xla")


def _agree(got, expected, tolerance=2e-5):
  """Relative to the largest value, as gradients differ by orders of magnitude."""
  got, expected = np.asarray(got), np.asarray(expected)
  assert got.shape == expected.shape
  np.testing.assert_allclose(got, expected, atol=tolerance * np.abs(expected).max())


def _same_gradients(ours, theirs, *args, tolerance=2e-5):
  """Compares the gradients of two functions that return sums, in all arguments."""
  wanted = tuple(range(len(args)))
  expected = jax.grad(ours, wanted)(*args)
  for got, want in zip(jax.grad(theirs, wanted)(*args), expected, strict=True):
    _agree(got, want, tolerance)


def test_rasters_agree(device):
  pos, tri = _loose_triangles(0)
  expected = _raster(pos, tri)
  got = nvdiffrast_jax.rasterize_with_derivatives(pos, tri, SIZE)
  same = np.asarray(got[0][..., 3] == expected[0][..., 3])
  # CudaRaster snaps vertices to 1/16 pixel: test_nvdiffrast_ids.py.
  assert same.mean() > 0.97
  assert 0.2 < np.mean(expected[0][..., 3] > 0) < 0.9
  for g, e in zip(got, expected, strict=True):
    _agree(np.where(same[..., None], g, 0), np.where(same[..., None], e, 0))


@pytest.mark.parametrize("derivatives", [False, True])
def test_gradients_of_rasters_agree(device, derivatives):
  pos, tri = _loose_triangles(1)
  rast, _ = _raster(pos, tri)
  theirs_first = nvdiffrast_jax.rasterize(pos, tri, SIZE)
  weights = _random(2, 2, BATCH, HEIGHT, WIDTH, 4)
  weights *= np.asarray(theirs_first[..., 3:] == rast[..., 3:])

  def loss(library, pos):
    if derivatives:
      out = library.rasterize_with_derivatives(pos, tri, SIZE)
    else:
      out = (library.rasterize(pos, tri, SIZE),)
    return sum(jnp.sum(o * w) for o, w in zip(out, weights, strict=False))

  # Their gradient keeps the triangle's area away from 0 by an epsilon.
  _same_gradients(
    functools.partial(loss, render),
    functools.partial(loss, nvdiffrast_jax),
    jnp.asarray(pos),
    tolerance=1e-3,
  )


@pytest.mark.parametrize("rows", [1, BATCH])
@pytest.mark.parametrize("derivatives", [False, True])
def test_interpolation_agrees(device, rows, derivatives):
  pos, tri = _cubes(0)
  rast, slopes = _raster(pos, tri)
  attr = jnp.asarray(_random(3, rows, pos.shape[1], 5))
  weights = (
    _random(4, BATCH, HEIGHT, WIDTH, 5, 1),
    _random(5, BATCH, HEIGHT, WIDTH, 5, 2),
  )

  def outputs(library, attr, rast, slopes):
    if derivatives:
      return library.interpolate_with_derivatives(attr, rast, tri, slopes)
    return (library.interpolate(attr, rast, tri),)

  def loss(library, *args):
    value, *change = outputs(library, *args)
    total = jnp.sum(value[..., None] * weights[0])
    return total + sum(jnp.sum(c * weights[1]) for c in change)

  args = (attr, rast, slopes)
  expected = outputs(render, *args)
  for got, want in zip(outputs(nvdiffrast_jax, *args), expected, strict=True):
    _agree(got, want)
  _same_gradients(
    functools.partial(loss, render),
    functools.partial(loss, nvdiffrast_jax),
    *args,
  )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("boundary", ["wrap", "clamp", "zero"])
@pytest.mark.parametrize("filter", ["nearest", "linear"])
def test_textures_agree(device, channels, boundary, filter):
  uv = jnp.asarray(_random(0, BATCH, HEIGHT, WIDTH, 2) * 0.7 + 0.5)
  weights = _random(1, BATCH, HEIGHT, WIDTH, channels)
  for rows, texel_centers in ((1, False), (BATCH, True)):
    tex = jnp.asarray(_random(2, rows, 7, 6, channels))
    options = {"filter": filter, "boundary": boundary, "texel_centers": texel_centers}
    _agree(
      nvdiffrast_jax.texture(tex, uv, **options), render.texture(tex, uv, **options)
    )

    def loss(texture, tex, uv, options=options):
      return jnp.sum(texture(tex, uv, **options) * weights)

    _same_gradients(
      functools.partial(loss, render.texture),
      functools.partial(loss, nvdiffrast_jax.texture),
      tex,
      uv,
      tolerance=1e-4,
    )


@pytest.mark.parametrize("level", ["derivatives", "bias", "both"])
@pytest.mark.parametrize("boundary", ["wrap", "clamp", "zero"])
@pytest.mark.parametrize("filter", ["linear-mipmap-nearest", "linear-mipmap-linear"])
def test_mip_maps_agree(device, boundary, filter, level):
  rng = np.random.default_rng(6)
  uv = jnp.asarray(_random(0, BATCH, HEIGHT, WIDTH, 2) * 0.7 + 0.5)
  slopes = _random(1, BATCH, HEIGHT, WIDTH, 2, 2)
  slopes *= np.exp(rng.uniform(-5, 0, slopes.shape[:3])).astype(np.float32)[
    ..., None, None
  ]
  bias = rng.uniform(-1, 3, slopes.shape[:3]).astype(np.float32)
  for channels, texel_centers, limit in ((3, False, None), (4, True, 2)):
    tex = jnp.asarray(_random(2, BATCH, 8, 32, channels))
    weights = _random(3, BATCH, HEIGHT, WIDTH, channels)

    def read(texture, tex, uv, slopes, bias, more=(texel_centers, limit)):
      return texture(
        tex,
        uv,
        filter=filter,
        boundary=boundary,
        uv_derivatives=None if level == "bias" else slopes,
        mip_level_bias=None if level == "derivatives" else bias,
        texel_centers=more[0],
        max_mip_level=more[1],
      )

    def loss(texture, *args, read=read, weights=weights):
      return jnp.sum(read(texture, *args) * weights)

    args = (tex, uv, jnp.asarray(slopes), jnp.asarray(bias))
    _agree(read(nvdiffrast_jax.texture, *args), read(render.texture, *args), 1e-4)
    _same_gradients(
      functools.partial(loss, render.texture),
      functools.partial(loss, nvdiffrast_jax.texture),
      *args,
      tolerance=3e-4,
    )


def test_cube_maps_know_their_faces(device):
  """+x, -x, +y, -y, +z, -z, as in OpenGL; the gradient reaches the right one."""
  tex = jnp.arange(6.0)[None, :, None, None, None] * jnp.ones((1, 6, 4, 4, 3))
  axes = np.concatenate([np.eye(3), -np.eye(3)]).reshape(2, 3, 3).swapaxes(0, 1)
  uv = jnp.asarray(axes.reshape(1, 1, 6, 3), jnp.float32)
  for filter in ("nearest", "linear"):
    read = functools.partial(nvdiffrast_jax.texture, filter=filter, boundary="cube")
    np.testing.assert_allclose(read(tex, uv)[0, 0, :, 0], np.arange(6))
    grad = jax.grad(lambda t, read=read: read(t, uv)[0, 0, 3, 0])(tex)
    np.testing.assert_allclose(grad.sum((0, 2, 3, 4)), np.arange(6) == 3, atol=1e-6)


@pytest.mark.parametrize("scene", ["loose", "cubes"])
def test_antialiasing_agrees(device, scene):
  pos, tri = _loose_triangles(3) if scene == "loose" else _cubes(1)
  rast, _ = _raster(pos, tri)
  color = jnp.asarray(_random(4, BATCH, HEIGHT, WIDTH, 3))
  weights = _random(5, *color.shape)
  # One triangle, where affjax by default follows the surface to the next ones.
  alone = {"neighbors": np.full_like(tri, -1)}
  expected = render.antialias(color, rast, pos, tri, **alone)
  assert np.sum(np.any(expected != color, -1)) > 50
  _agree(nvdiffrast_jax.antialias(color, rast, pos, tri), expected)

  def ours(color, pos):
    return jnp.sum(render.antialias(color, rast, pos, tri, **alone) * weights)

  def theirs(color, pos):
    return jnp.sum(nvdiffrast_jax.antialias(color, rast, pos, tri) * weights)

  # An epsilon again, on the edge's height.
  _same_gradients(ours, theirs, color, jnp.asarray(pos), tolerance=1e-3)


def test_antialiasing_finds_the_topology_of_a_traced_mesh(device):
  pos, tri = _cubes(2)
  rast, _ = _raster(pos, tri)
  color = jnp.asarray(_random(4, BATCH, HEIGHT, WIDTH, 3))
  traced = jax.jit(lambda t: nvdiffrast_jax.antialias(color, rast, pos, t))(tri)
  _agree(traced, nvdiffrast_jax.antialias(color, rast, pos, tri), 1e-6)


def test_bad_numbers_touch_no_memory_of_others(device):
  pos, tri = _cubes(5)
  rast, _ = _raster(pos, tri)
  attr = jnp.asarray(_random(3, BATCH, pos.shape[1], 3))
  beyond = jax.jit(lambda t: nvdiffrast_jax.interpolate(attr, rast, t))(tri + 8)
  np.testing.assert_array_equal(beyond, 0)
  color = jnp.asarray(_random(4, BATCH, HEIGHT, WIDTH, 3))
  same = jax.jit(lambda t: nvdiffrast_jax.antialias(color, rast, pos, t))(tri + 8)
  np.testing.assert_array_equal(same, color)
  tex = jnp.asarray(_random(5, 1, 8, 8, 4))
  far = jnp.full((BATCH, HEIGHT, WIDTH, 2), 3e38).at[:, ::2].set(-jnp.inf)
  for boundary in ("wrap", "clamp", "zero"):
    for filter in ("nearest", "linear"):
      read = nvdiffrast_jax.texture(tex, far, filter=filter, boundary=boundary)
      assert not np.any(np.isfinite(read) & (np.abs(read) > np.abs(tex).max()))


def test_vmap_equals_a_loop(device):
  pos, tri = _cubes(3)
  rast, slopes = _raster(pos, tri)
  attr = jnp.asarray(_random(3, BATCH, 1, pos.shape[1], 2))
  tex = jnp.asarray(_random(4, BATCH, 1, 8, 8, 3))

  def picture(pos, rast, slopes, attr, tex):
    uv, change = nvdiffrast_jax.interpolate_with_derivatives(attr, rast, tri, slopes)
    color = nvdiffrast_jax.texture(
      tex, uv, filter="linear-mipmap-linear", boundary="wrap", uv_derivatives=change
    )
    return jnp.sum(nvdiffrast_jax.antialias(color, rast, pos, tri) ** 2)

  grad = jax.value_and_grad(picture, (0, 1, 2, 3, 4))
  args = (jnp.asarray(pos)[:, None], rast[:, None], slopes[:, None], attr, tex)
  mapped = jax.vmap(grad)(*args)
  looped = [grad(*(a[i] for a in args)) for i in range(BATCH)]
  expected = jax.tree.map(lambda *a: jnp.stack(a), *looped)
  jax.tree.map(lambda g, e: _agree(g, e, 1e-5), mapped, expected)


def test_devices_share_a_batch(device):
  if device.platform != "cpu":
    pytest.skip("one GPU")
  devices = jax.devices("cpu")[:BATCH]
  mesh = jax.sharding.Mesh(np.array(devices), ("x",))
  rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
  pos, tri = _cubes(4)
  rast, slopes = _raster(pos, tri)
  attr = jnp.asarray(_random(3, 1, pos.shape[1], 4))

  def loss(attr, pos, rast, slopes):
    value, change = nvdiffrast_jax.interpolate_with_derivatives(attr, rast, tri, slopes)
    color = value + jnp.sum(change, -1)
    return jnp.sum(nvdiffrast_jax.antialias(color, rast, pos, tri) ** 2)

  grad = jax.jit(jax.grad(loss, (0, 1)))
  expected = grad(attr, pos, rast, slopes)
  divided = jax.device_put((jnp.asarray(pos), rast, slopes), rows)
  got = grad(attr, *divided)
  for g, e in zip(got, expected, strict=True):
    _agree(g, e)
  assert got[1].sharding.is_equivalent_to(rows, 3)
