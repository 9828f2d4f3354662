"""PyTorch3D's rasterizer: its own answers, reached through the converter."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax import render
from affjax.render import pytorch3d
from tests.render import scenes

GOLDEN = pathlib.Path(__file__).parents[1] / "reference" / "pytorch3d_golden.npz"


@functools.cache
def golden():
  """Scenes of `make_pytorch3d_golden.py` by name."""
  found = {}
  with np.load(GOLDEN, allow_pickle=False) as arrays:
    for key in arrays.files:
      name, field = key.split("/")
      found.setdefault(name, {})[field] = arrays[key]
  return found


@functools.partial(jax.jit, static_argnames=("size", "perspective"))
def fragments_of(vertices, tri, size, perspective):
  pos = pytorch3d.clip_from_pytorch3d(
    vertices, size, near=0.1, far=20.0, perspective=perspective
  )
  rasts = render.peel(pos, tri, size, layers=4)
  found = pytorch3d.to_pytorch3d(rasts, pos, tri, depth=vertices[..., 2])
  back = pytorch3d.from_pytorch3d(found.pix_to_face, found.bary_coords, pos, tri)
  return rasts, found, back


@pytest.mark.usefixtures("unchecked_shapes")
def test_errors_name_the_argument():
  pos, tri = scenes.cube()
  pos = jnp.asarray(pos)
  rast = render.rasterize(pos, tri, (4, 4))
  face = jnp.zeros((1, 4, 4, 1), jnp.int32)
  for call, match in (
    (lambda: pytorch3d.to_pytorch3d(rast[0], pos, tri), "rast"),
    (lambda: pytorch3d.to_pytorch3d(rast, pos[:, :, :3], tri), "pos"),
    (lambda: pytorch3d.to_pytorch3d(rast, pos, tri + 1), "tri"),
    (lambda: pytorch3d.to_pytorch3d(rast, pos, tri, depth=pos), "depth"),
    (lambda: pytorch3d.from_pytorch3d(face, jnp.zeros((1, 4, 4, 3)), pos, tri), "bary"),
    (lambda: pytorch3d.clip_from_pytorch3d(pos, (4, 4), near=1, far=2), "vertices"),
    (
      lambda: pytorch3d.clip_from_pytorch3d(pos[..., :3], (4, 4), near=0, far=2),
      "near",
    ),
  ):
    with pytest.raises(ValueError, match=match):
      call()


@pytest.mark.parametrize("name", sorted(golden()))
def test_agrees_with_pytorch3d(name):
  """Faces, depths, weights and distances of the four nearest surfaces of each pixel.

  Pixels within 1e-5 of an edge, and surfaces that cross, may fall otherwise.
  """
  scene = golden()[name]
  _, found, _ = fragments_of(
    scene["vertices"],
    scene["tri"],
    tuple(map(int, scene["size"])),
    bool(scene["perspective"]),
  )
  face = np.asarray(found.pix_to_face)
  assert face.shape == scene["pix_to_face"].shape
  same = face == scene["pix_to_face"]
  assert (~same).sum() <= (2 if "soup" in name else 0)
  assert (face >= len(scene["tri"])).any()  # the second image's faces are offset
  assert (face[..., 1] >= 0).any()
  for key in ("zbuf", "bary_coords", "dists"):
    ours, theirs = np.asarray(getattr(found, key)), scene[key]
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours[same], theirs[same], atol=2e-4, err_msg=key)


def test_back_gives_the_rasters():
  scene = golden()["wide_soup_perspective"]
  rasts, _, back = fragments_of(scene["vertices"], scene["tri"], (12, 20), True)
  np.testing.assert_allclose(back, rasts, atol=2e-5)
  np.testing.assert_array_equal(back[..., 3], rasts[..., 3])


def test_one_raster_is_one_face_a_pixel():
  pos, tri = scenes.cube()

  @jax.jit
  def both(pos):
    rast = render.rasterize(pos, tri, (8, 8))
    return rast, pytorch3d.to_pytorch3d(rast, pos, tri)

  rast, found = both(pos)
  assert found.pix_to_face.shape == (1, 8, 8, 1)
  assert found.bary_coords.shape == (1, 8, 8, 1, 3)
  empty = np.asarray(rast[..., 3:]) == 0
  assert empty.any()
  for value in (found.pix_to_face, found.zbuf, found.dists):
    np.testing.assert_array_equal(np.asarray(value)[empty], -1)
  hit = ~empty[..., 0]
  np.testing.assert_allclose(np.asarray(found.bary_coords)[hit].sum(-1), 1, atol=1e-6)


def test_gradients_against_finite_differences():
  """Depth, weights and distances by the vertices."""
  with jax.enable_x64(True):
    pos, tri = scenes.cube(0.5)
    pos, rng = jnp.asarray(pos, jnp.float64), np.random.default_rng(0)
    probe = jnp.asarray(rng.normal(size=(1, 10, 10, 1, 5)))

    @jax.jit
    def loss(pos):
      rast = render.rasterize(pos, tri, (10, 10))
      found = pytorch3d.to_pytorch3d(rast, pos, tri)
      scalars = [found.zbuf[..., None], found.dists[..., None], found.bary_coords]
      return jnp.sum(jnp.concatenate(scalars, -1) * probe)

    gradient = jax.grad(loss)(pos)
    for _ in range(3):
      step = 1e-7 * rng.normal(size=pos.shape)
      change = (loss(pos + step) - loss(pos - step)) / 2
      np.testing.assert_allclose((gradient * step).sum(), change, rtol=1e-4)
