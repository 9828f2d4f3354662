"""Mip-mapped textures: the pyramid, the level, values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax import render
from affjax.render import _mipmaps
from tests.reference import mipmaps as reference
from tests.render import scenes

texture = jax.jit(
  render.texture,
  static_argnames=("filter", "boundary", "texel_centers", "max_mip_level"),
)
LINEAR, NEAREST = "linear-mipmap-linear", "linear-mipmap-nearest"


def _inputs(seed, shape=(8, 8), size=(3, 5), channels=2):
  """A texture, places in it, and footprints of 0.3 to 30 texels, turned and long."""
  rng = np.random.default_rng(seed)
  tex = rng.uniform(size=(*shape, channels))
  uv = rng.uniform(0.02, 0.98, (*size, 2))
  texels = np.exp(rng.uniform(-1.2, 3.4, (*size, 1, 1))) * rng.normal(
    size=(*size, 2, 2)
  )
  return tex, uv, texels / max(shape)


def _lookup(tex, uv, slopes, **options):
  args = (jnp.asarray(v[None]) for v in (tex, uv))
  options = {"filter": LINEAR, "uv_derivatives": jnp.asarray(slopes[None]), **options}
  return texture(*args, **options)


@pytest.mark.usefixtures("unchecked_shapes")
def test_errors_name_the_argument():
  tex, uv = jnp.zeros((1, 4, 4, 3)), jnp.zeros((1, 2, 2, 2))
  slopes = jnp.zeros((1, 2, 2, 2, 2))
  for options, match in (
    ({"filter": LINEAR}, "uv_derivatives"),
    ({"filter": "mipmap"}, "linear-mipmap-linear"),
    ({"uv_derivatives": slopes}, "filter='linear'"),
    ({"filter": LINEAR, "uv_derivatives": slopes[..., 0]}, "uv_derivatives"),
    ({"filter": LINEAR, "mip_level_bias": jnp.zeros((1, 2))}, "mip_level_bias"),
    (
      {"filter": LINEAR, "uv_derivatives": slopes, "max_mip_level": -1},
      "max_mip_level",
    ),
  ):
    with pytest.raises(ValueError, match=match):
      render.texture(tex, uv, **options)
  with pytest.raises(ValueError, match="H > 0"):
    render.texture(tex[:, :0], uv)


@pytest.mark.parametrize("shape", [(8, 8), (4, 16), (1, 1), (1, 6), (7, 5), (13, 10)])
def test_pyramid_agrees_with_the_definition(shape):
  """Powers of two, odd sizes, single rows; each level keeps the texture's mean."""
  tex = np.random.default_rng(0).uniform(size=(*shape, 2))
  sizes = _mipmaps.level_sizes(shape, None)
  run = jax.jit(lambda tex: _mipmaps.pyramid(tex, sizes))
  texels = np.asarray(run(jnp.asarray(tex[None], jnp.float32)))[0]
  levels = reference.pyramid(tex)
  assert [level.shape[:2] for level in levels] == sizes
  assert sizes[-1] == (1, 1)
  starts = [*_mipmaps.offsets(sizes), len(texels)]
  for k, level in enumerate(levels):
    found = texels[starts[k] : starts[k + 1]]
    np.testing.assert_allclose(found, level.reshape(-1, 2), atol=1e-6)
    np.testing.assert_allclose(found.mean(0), tex.mean((0, 1)), atol=1e-6)


@pytest.mark.parametrize("filter", [LINEAR, NEAREST])
@pytest.mark.parametrize("boundary", ["clamp", "wrap", "zero"])
@pytest.mark.parametrize(("shape", "texel_centers"), [((8, 16), False), ((7, 5), True)])
def test_lookup_agrees_with_the_definition(filter, boundary, shape, texel_centers):
  tex, uv, slopes = _inputs(1, shape)
  if boundary == "zero":
    uv = 1.8 * uv - 0.4
  options = {"boundary": boundary, "texel_centers": texel_centers}
  expected = reference.texture(tex, uv, slopes, linear=filter == LINEAR, **options)
  with jax.enable_x64(True):
    found = _lookup(tex, uv, slopes, filter=filter, **options)
  np.testing.assert_allclose(found[0], expected, atol=1e-12)


def test_bias_and_limit_agree_with_the_definition():
  tex, uv, slopes = _inputs(2)
  for bias, limit in ((1.3, None), (-0.7, 2), (0.0, 0), (0.5, 20)):
    expected = reference.texture(tex, uv, slopes, bias=bias, limit=limit)
    found = _lookup(tex, uv, slopes, mip_level_bias=bias, max_mip_level=limit)
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
  per_pixel = np.full((1, *uv.shape[:2]), 1.3)
  np.testing.assert_allclose(
    _lookup(tex, uv, slopes, mip_level_bias=jnp.asarray(per_pixel)),
    _lookup(tex, uv, slopes, mip_level_bias=1.3),
  )
  alone = texture(
    jnp.asarray(tex[None]), jnp.asarray(uv[None]), filter=LINEAR, mip_level_bias=3.0
  )
  mean = np.broadcast_to(tex.mean((0, 1)), alone[0].shape)
  np.testing.assert_allclose(alone[0], mean, atol=1e-6)


@functools.partial(jax.jit, static_argnums=3)
def _seen(pos, uvs, tri, size):
  """The raster, UVs, and how they change by pixel."""
  rast, slopes = render.rasterize_with_derivatives(pos, tri, size)
  return rast, *render.interpolate_with_derivatives(uvs, rast, tri, slopes)


def test_takes_what_interpolate_gives():
  """Both shapes of the derivatives, from a plate that shows 2 texels a pixel."""
  tri = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
  corners = jnp.asarray([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
  pos = jnp.concatenate([corners, jnp.zeros((4, 1)), jnp.ones((4, 1))], 1)[None]
  uvs = jnp.asarray([[0.0, 1], [1, 1], [1, 0], [0, 0]])[None]
  _, uv, by_pixel = _seen(pos, uvs, tri, (8, 8))
  tex = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 16, 16, 3)), jnp.float32)
  found = texture(tex, uv, filter=LINEAR, uv_derivatives=by_pixel)
  means = tex.reshape(1, 8, 2, 8, 2, 3).mean((2, 4))
  np.testing.assert_allclose(found, means, atol=1e-5)
  flat = by_pixel.reshape(1, 8, 8, 4)
  np.testing.assert_array_equal(
    found, texture(tex, uv, filter=LINEAR, uv_derivatives=flat)
  )


def test_a_turned_picture_reads_the_same_level():
  slopes = jnp.asarray([[0.3, 0.1], [-0.2, 0.25]])[None, None, None]
  footprint = jax.jit(lambda slopes: _mipmaps.footprint_level(slopes, (32, 32)))
  level = footprint(slopes)
  for angle in (0.3, 0.8, 1.2):
    c, s = np.cos(angle), np.sin(angle)
    turned = slopes @ jnp.asarray([[c, -s], [s, c]])[None, None, None]
    np.testing.assert_allclose(footprint(turned), level, atol=1e-5)


def test_shared_texture_equals_repeated_ones():
  tex, uv, slopes = _inputs(3)
  uv, slopes = (jnp.asarray(np.stack([v, v[::-1]]), jnp.float32) for v in (uv, slopes))
  tex = jnp.asarray(tex[None], jnp.float32)
  options = {"filter": LINEAR, "uv_derivatives": slopes}
  shared = texture(tex, uv, **options)
  repeated = texture(jnp.repeat(tex, 2, 0), uv, **options)
  np.testing.assert_allclose(shared, repeated, atol=1e-6)


@pytest.mark.parametrize("boundary", ["clamp", "wrap", "zero"])
@pytest.mark.parametrize("shape", [(8, 8), (7, 6)])
def test_gradients_against_finite_differences(boundary, shape):
  """To every level of the texture, the places, the footprints and the bias."""
  with jax.enable_x64(True):
    tex, uv, slopes = (jnp.asarray(v[None]) for v in _inputs(4, shape))
    rng = np.random.default_rng(5)
    probe = jnp.asarray(rng.normal(size=(*uv.shape[:3], tex.shape[-1])))

    @jax.jit
    def loss(tex, uv, slopes, bias):
      out = render.texture(
        tex,
        uv,
        filter=LINEAR,
        boundary=boundary,
        uv_derivatives=slopes,
        mip_level_bias=bias,
      )
      return jnp.sum(out * probe)

    at = (tex, uv, slopes, jnp.full(uv.shape[:3], 0.1))
    gradients = jax.grad(loss, (0, 1, 2, 3))(*at)
    for k, gradient in enumerate(gradients):
      assert np.abs(gradient).max() > 1e-3
      step = 1e-6 * rng.normal(size=at[k].shape)
      ends = (loss(*at[:k], at[k] + s, *at[k + 1 :]) for s in (step, -step))
      change = (next(ends) - next(ends)) / 2
      np.testing.assert_allclose((gradient * step).sum(), change, rtol=1e-5, atol=1e-11)


@pytest.mark.parametrize("value", [0.0, 1e-30, np.nan, np.inf, 1e30])
def test_wild_footprints_stay_finite(value):
  """Empty pixels (0), degenerate and infinite footprints: values and gradients."""
  tex, uv = jnp.ones((1, 4, 4, 2)), jnp.full((1, 2, 2, 2), 0.4)
  slopes = jnp.full((1, 2, 2, 2, 2), value).at[0, 0, 0].set(0.4)

  @jax.jit
  def look(tex, uv, slopes):
    return render.texture(tex, uv, filter=LINEAR, uv_derivatives=slopes)

  np.testing.assert_allclose(look(tex, uv, slopes), 1, atol=1e-6)
  gradients = jax.grad(lambda *args: jnp.sum(look(*args)), (0, 1, 2))(tex, uv, slopes)
  for gradient in gradients[: 3 if np.isfinite(value) and value < 1 else 2]:
    assert np.isfinite(gradient).all()


def test_vmap_equals_a_loop():
  tex, uv, slopes = (np.stack(v) for v in zip(*map(_inputs, (6, 7)), strict=True))
  look = jax.jit(lambda t, u, s: render.texture(t, u, filter=LINEAR, uv_derivatives=s))
  args = [jnp.asarray(v[:, None], jnp.float32) for v in (tex, uv, slopes)]
  mapped = jax.vmap(look)(*args)
  for k in range(2):
    np.testing.assert_allclose(mapped[k], look(*(v[k] for v in args)), atol=1e-6)


def test_far_surfaces_do_not_flicker():
  """A checkered floor to the horizon: far rows are the checkers' mean, gray."""
  pos = jnp.asarray(
    [[-30.0, 1, 0, 1], [30, 1, 0, 1], [30, 1, 0.9, 30], [-30, 1, 0.9, 30]]
  )
  tri = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
  uvs = jnp.asarray([[0.0, 0], [60, 0], [60, 29], [0, 29]])[None]
  rast, uv, by_pixel = _seen(pos[None], uvs, tri, (32, 32))
  checkers = jnp.asarray((np.indices((16, 16)) // 8).sum(0) % 2, jnp.float32)
  tex = checkers[None, ..., None]
  smooth = texture(tex, uv, filter=LINEAR, boundary="wrap", uv_derivatives=by_pixel)
  rough = texture(tex, uv, boundary="wrap")
  hit = np.asarray(rast[0, ..., 3] > 0)
  far = np.nonzero(hit.any(1))[0][:2]
  assert np.abs(np.asarray(smooth)[0, far][hit[far]] - 0.5).max() < 0.05
  assert np.abs(np.asarray(rough)[0, far][hit[far]] - 0.5).max() > 0.4


def test_the_backward_pass_needs_little_memory():
  """At 512² and three channels, 87 MB: a plain lookup's 29 MB times three."""
  tex = jax.ShapeDtypeStruct((1, 512, 512, 3), jnp.float32)
  uv = jax.ShapeDtypeStruct((1, 512, 512, 2), jnp.float32)
  slopes = jax.ShapeDtypeStruct((1, 512, 512, 2, 2), jnp.float32)

  def loss(tex, uv, slopes):
    return jnp.sum(render.texture(tex, uv, filter=LINEAR, uv_derivatives=slopes) ** 2)

  compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(tex, uv, slopes).compile()
  memory = compiled.memory_analysis()
  if memory is None:
    pytest.skip("this backend does not say")
  assert memory.temp_size_in_bytes < 100e6


def test_scene_gradient_reaches_the_vertices_through_the_level():
  """rasterize -> interpolate -> texture: d(picture)/d(pos) has the level's part."""
  with jax.enable_x64(True):
    pos, tri = scenes.cube(0.5)
    rng = np.random.default_rng(0)
    uvs = jnp.asarray(rng.uniform(0.1, 0.9, (1, 8, 2)))
    tex = jnp.asarray(rng.uniform(size=(1, 32, 32, 1)))
    probe = jnp.asarray(rng.normal(size=(1, 12, 12, 1)))

    @jax.jit
    def loss(pos):
      rast, slopes = render.rasterize_with_derivatives(pos, tri, (12, 12))
      uv, by_pixel = render.interpolate_with_derivatives(uvs, rast, tri, slopes)
      out = render.texture(tex, uv, filter=LINEAR, uv_derivatives=by_pixel)
      return jnp.sum(out * probe * (rast[..., 3:] > 0))

    pos = jnp.asarray(pos, jnp.float64)
    gradient = jax.grad(loss)(pos)
    for _ in range(3):
      step = 1e-7 * rng.normal(size=pos.shape)
      change = (loss(pos + step) - loss(pos - step)) / 2
      np.testing.assert_allclose((gradient * step).sum(), change, rtol=1e-4)
