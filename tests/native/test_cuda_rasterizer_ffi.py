"""The FFI handlers of the CUDA rasterizer, called by XLA on the CPU.

All of rasterizer.cu is compiled for the CPU; only the stream and the scratch memory,
which XLA provides on GPUs only, are replaced.
"""

import jax
import jax.ffi
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.geometry import mesh
from affjax.render import _location, _silhouettes, _xla
from tests.native import cuda_host, test_cuda_affine_ffi
from tests.render import hostile

HANDLERS = (
  "rasterize_ids",
  "rasterize_nearest",
  "rasterize_locate",
  "silhouette_edges",
)


@pytest.fixture(scope="module", autouse=True)
def _registered():
  driver = test_cuda_affine_ffi.DRIVER.replace("affine_conv.cu", "rasterizer.cu")
  library = cuda_host.build(driver, include=jax.ffi.include_dir())
  for name in HANDLERS:
    handler = getattr(library, f"affjax_{name}")
    jax.ffi.register_ffi_target(
      f"hosted_{name}", jax.ffi.pycapsule(handler), platform="cpu"
    )


def _ids(pos, tri, size):
  out = jax.ShapeDtypeStruct((pos.shape[0], *size), jnp.int32)
  return jax.ffi.ffi_call("hosted_rasterize_ids", out)(pos, tri)


@pytest.mark.parametrize("kind", ["sizes", "broken"])
def test_ids(kind):
  pos, tri = hostile.scenes(kind, 5, batch=3, resolution=(33, 47))
  expected = _xla.triangle_ids(pos, tri, (33, 47))
  np.testing.assert_array_equal(
    jax.jit(_ids, static_argnums=2)(pos, tri, (33, 47)), expected
  )


def test_empty_meshes_batches_and_wrong_shapes():
  pos, tri = np.zeros((2, 5, 4), np.float32), np.zeros((3, 3), np.int32)
  assert not np.any(_ids(pos, tri[:0], (8, 9)))
  assert not np.any(_ids(pos[:, :0], tri, (8, 9)))
  assert _ids(pos[:0], tri, (8, 9)).shape == (0, 8, 9)
  for bad in ((pos[..., :3], tri), (pos, tri[:, :2]), (pos.astype(np.int32), tri)):
    with pytest.raises(Exception, match=r"pos \[B, V, 4\]|Wrong buffer|[Tt]ype"):
      jax.block_until_ready(_ids(*bad, (8, 9)))
  call = jax.ffi.ffi_call(
    "hosted_rasterize_ids", jax.ShapeDtypeStruct((3, 8, 9), jnp.int32)
  )
  with pytest.raises(Exception, match="pos"):
    jax.block_until_ready(call(pos, tri))


@jax.jit
def _nearest(pos, tri, depth, ids):
  out = [jax.ShapeDtypeStruct(ids.shape, d) for d in (jnp.float32, jnp.int32)]
  return jax.ffi.ffi_call("hosted_rasterize_nearest", out)(pos, tri, depth, ids)


@pytest.mark.parametrize("kind", hostile.KINDS)
def test_layers(kind):
  size = (33, 47)
  pos, tri = map(jnp.asarray, hostile.scenes(kind, 6, batch=3, resolution=size))
  shape = (3, *size)
  behind = (jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int32))
  for _ in range(3):
    want = _xla.nearest(pos, tri, size, behind=behind)
    for g, w in zip(_nearest(pos, tri, *behind), want, strict=True):
      np.testing.assert_array_equal(g, w)
    behind = want
  assert _nearest(pos, tri[:0], *behind)[1].sum() == 0
  with pytest.raises(Exception, match="rasterize_nearest"):
    jax.block_until_ready(_nearest(pos, tri, behind[0][:2], behind[1]))


@pytest.mark.parametrize("derivatives", [False, True])
@pytest.mark.parametrize("kind", ["sizes", "grid", "broken"])
def test_places(kind, derivatives):
  size = (33, 47)
  pos, tri = map(jnp.asarray, hostile.scenes(kind, 5, batch=3, resolution=size))
  depth, ids = _xla.nearest(pos, tri, size)
  shapes = [(*ids.shape, channels) for channels in (4, 4 * derivatives)]
  out = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  call = jax.ffi.ffi_call("hosted_rasterize_locate", out)
  got, slopes = map(np.asarray, call(pos, tri, ids))
  want, by_pixel = map(
    np.asarray, _location.located(pos, tri, ids, derivatives=derivatives)
  )
  np.testing.assert_array_equal(got[..., 3], ids)
  assert not got[ids == 0].any()
  sure = (ids > 0) & (np.abs(want[..., 2] - depth) < 1e-4)
  assert np.mean(np.abs(got - want)[sure].max(1) < 1e-3) > 0.99
  if derivatives:
    off = np.abs(slopes - by_pixel)[sure]
    assert np.mean(off <= 1e-2 * np.abs(by_pixel[sure]) + 1e-3) > 0.99
  bad = jnp.asarray(ids).at[:, 0].set(jnp.iinfo(jnp.int32).max).at[:, 1].set(-5)
  assert not np.asarray(call(pos, tri, bad)[0])[:, :2].any()
  with pytest.raises(Exception, match="rasterize_locate"):
    jax.block_until_ready(call(pos[:2], tri, ids))


def _edges(ids, depth, rows, neighbors, tri):
  batch, height, width = ids.shape
  shapes = [(batch, height, width - 1)] * 2 + [(batch, height - 1, width)] * 2
  out = [jax.ShapeDtypeStruct(shape, jnp.int32) for shape in shapes]
  return jax.ffi.ffi_call("hosted_silhouette_edges", out)(
    ids, depth, rows, neighbors, tri
  )


def test_silhouette_edges():
  size = (33, 47)
  pos, tri = hostile.scenes("grid", 3, batch=3, resolution=size)
  opposite = jnp.asarray(mesh.opposite_vertices(tri))
  neighbors = jnp.asarray(mesh.neighbors(tri), jnp.int32)
  depth, ids = _xla.nearest(pos, tri, size)
  pos, tri = jnp.asarray(pos), jnp.asarray(tri)
  outline = _silhouettes.outline(pos, tri, opposite, neighbors, size)
  rows = outline.rows.reshape(3, -1, 9)
  got = _edges(ids, depth, rows, neighbors, tri)
  pairs = _silhouettes.pairs(depth, ids, axis=2)
  want = _silhouettes.crossed_edges(pairs, outline, tri, steeper=False)
  np.testing.assert_array_equal(got[0], want[0])
  np.testing.assert_array_equal(got[1], want[1])
  assert np.sum(want[0] >= 0) > 20
  assert np.sum(got[2] >= 0) > 20
  with pytest.raises(Exception, match="silhouette_edges"):
    jax.block_until_ready(_edges(ids, depth, rows[:, 1:], neighbors, tri))
