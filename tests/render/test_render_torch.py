"""The renderer against the one in PyTorch: ids, pictures and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.geometry import camera
from affjax.heads import open_head
from affjax.render import rasterize, render_head
from affjax.types import Camera

torch = pytest.importorskip("torch", reason="PyTorch is in the extra `reference`")
from experiments.pytorch_reference import antialiasing, rasterizer  # noqa: E402
from experiments.pytorch_reference import head as theirs  # noqa: E402

SIZE = 48
TEMPLATE = open_head("embedded").template
CAMERA = Camera()
POSES = np.array(
  [[0.1, -0.5, 0.2, 0.1, -0.05, 0.3], [-0.2, 0.9, 0.0, -0.3, 0.2, -1.0]], np.float32
)


def _vertices():
  return np.asarray(
    camera.head_to_world(jnp.asarray(TEMPLATE.vertices)[None], jnp.asarray(POSES))
  )


def _clip(vertices):
  own = theirs.Camera(CAMERA.fov_deg, CAMERA.distance, CAMERA.near, CAMERA.far)
  return own.to_clip(vertices)


def _faces(name="faces"):
  return torch.tensor(getattr(TEMPLATE, name)).long()


def test_poses_move_points_alike():
  points = TEMPLATE.vertices[::100]
  got = camera.head_to_world(jnp.asarray(points)[None], jnp.asarray(POSES))
  want = theirs.posed(torch.tensor(points).double(), torch.tensor(POSES).double())
  np.testing.assert_allclose(got, want, atol=1e-6)


def test_every_pixel_shows_the_same_triangle_at_the_same_place():
  vertices = _vertices()
  clip = camera.world_to_clip(vertices, CAMERA)
  got = np.asarray(rasterize(clip, TEMPLATE.faces, (SIZE, SIZE)))
  want = rasterizer.rasterize(torch.tensor(clip).double(), _faces(), SIZE).numpy()
  assert (want[..., 3] > 0).mean() > 0.2
  np.testing.assert_array_equal(got[..., 3], want[..., 3])
  np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("antialias", [False, True], ids=["hard", "antialiased"])
def test_pictures_and_gradients_agree(antialias):
  rng = np.random.default_rng(0)
  vertices = _vertices()
  texture = rng.random((2, 16, 16, 3), np.float32)
  weight = rng.standard_normal((2, SIZE, SIZE, 4)).astype(np.float32)

  @jax.jit
  def ours(vertices, texture):
    picture = lambda v, t: jnp.concatenate(
      render_head(v, t, TEMPLATE, CAMERA, (SIZE, SIZE), antialias=antialias), -1
    )
    layers, pull = jax.vjp(picture, vertices, texture)
    return layers, *pull(jnp.asarray(weight))

  inputs = [torch.tensor(v).double().requires_grad_() for v in (vertices, texture)]
  clip = _clip(inputs[0])
  raster = rasterizer.rasterize(clip, _faces(), SIZE)
  uvs = torch.tensor(TEMPLATE.uvs).double()
  uv = rasterizer.interpolate(uvs, raster, _faces("faces_uv"))
  mask = (raster[..., 3:] > 0).double()
  layers = torch.cat([rasterizer.texture(inputs[1], uv) * mask, mask], -1)
  if antialias:
    surface = antialiasing.mesh(_faces())
    layers = antialiasing.antialias(layers, raster, clip, surface)
    assert ((layers[..., 3] > 0) & (layers[..., 3] < 1)).sum() > SIZE
  slopes = torch.autograd.grad(layers, inputs, torch.tensor(weight).double())
  picture, *gradients = ours(vertices, texture)
  _close(picture, layers.detach(), 1e-4)
  for got, want in zip(gradients, slopes, strict=True):
    _close(got, want, 1e-3)


def _close(got, want, tolerance):
  scale = float(want.abs().max())
  assert scale > 0
  np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale)
