"""The four networks and the discriminators, without the renderer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.models import (
  ARCHITECTURES,
  EncoderConfig,
  GlobalContext,
  LightNetConfig,
  MultiScaleDiscriminator,
  PoseNetConfig,
  _architectures,
  _light,
  _params,
  _pose,
  _spectral,
  architecture,
)

SIZE = 32
# Those that need no alignment; `test_models_guided.py` tests the other one.
FREE = sorted(set(ARCHITECTURES) - {"guided"})


def _define(name="paper", **options):
  return _architectures.define(architecture(name), EncoderConfig(**options))


def _images(n=2, size=SIZE, seed=0):
  return np.random.default_rng(seed).random((n, size, size, 3), np.float32)


def _names(tree):
  paths = jax.tree_util.tree_leaves_with_path(tree)
  return ["/".join(key.key for key in path) for path, _ in paths]


def _apply(definition, *args):
  return jax.jit(lambda p, *a: _params.apply(definition, p, *a))(*args)


# AffUNet.


@pytest.mark.parametrize(
  ("name", "width", "millions"),
  [("paper", 32, 1.76), ("paper", 64, 7.00), ("plain", 32, 1.75)],
)
def test_parameter_counts_are_those_of_the_plan(name, width, millions):
  shapes = _define(name, width=width).shapes
  assert round(_params.count(shapes) / 1e6, 2) == millions


def test_all_architectures_have_as_many_parameters():
  """Position network, diffuse network, and all with the light network: within 5 %."""
  counts = {}
  for name in ARCHITECTURES:
    row = architecture(name)
    outputs = 8 if row.guided else 3
    both = [_architectures.define(row, EncoderConfig(), n) for n in (3, outputs)]
    light = _light.define(row, LightNetConfig())
    counts[name] = [_params.count(d.shapes) for d in (*both, light)]
    print(f"{name:16} {counts[name]}, {sum(counts[name]):,} in all")
  for column in np.transpose([[*row[:2], sum(row)] for row in counts.values()]):
    assert column.max() <= 1.05 * column.min(), counts


def test_an_unknown_architecture_lists_the_known_ones():
  with pytest.raises(ValueError, match=r"one of paper, .*guided, got 'unet'"):
    architecture("unet")


def test_there_are_eleven_convolutions():
  names = _names(_define(width=4).shapes)
  kernels = [n for n in names if n.endswith("kernel")]
  predictors = [n for n in kernels if "predictor" in n]
  assert len(kernels) - len(predictors) == 11
  assert [n.split("/")[1] for n in predictors] == ["layer2", "layer3", "layer4"]
  plain = _names(_define("plain", width=4).shapes)
  assert not [n for n in plain if "predictor" in n]


@pytest.mark.parametrize("name", ["paper", "paper_absolute", "deformable"])
def test_warping_nets_start_as_the_plain_net(name):
  warping, plain = _define(name, width=4), _define("plain", width=4)
  got = _apply(warping, _params.init(warping, 3), _images())
  want = _apply(plain, _params.init(plain, 3), _images())
  assert float(jnp.std(want)) > 0.01
  np.testing.assert_allclose(got, want, atol=1e-3)


@pytest.mark.parametrize("size", [64, 512, 50])
@pytest.mark.parametrize("name", FREE)
@pytest.mark.usefixtures("unchecked_shapes")  # abstract arrays have no values
def test_output_is_as_large_as_the_photo(size, name):
  definition = _define(name)
  y = jax.eval_shape(
    lambda p, x: _params.apply(definition, p, x),
    definition.shapes,
    jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32),
  )
  assert (y.shape, y.dtype) == ((2, size, size, 3), jnp.float32)


def test_global_context_sees_everything_from_everywhere():
  definition = _params.define(lambda rngs: GlobalContext(8, size=8, rngs=rngs))
  weights = _params.init(definition, 0)
  x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 8, 8, 8), np.float32))
  corner = lambda x: _params.apply(definition, weights, x)[0, 0, 0, 0]
  gradient = jax.jit(jax.grad(corner))(x)
  assert float(jnp.abs(gradient).max(-1).min()) > 0
  large = jax.ShapeDtypeStruct((2, 64, 50, 8), jnp.bfloat16)
  out = jax.eval_shape(lambda x: _params.apply(definition, weights, x), large)
  assert (out.shape, out.dtype) == ((2, 64, 50, 32), jnp.bfloat16)


def test_bfloat16_is_close_and_returns_float32():
  exact, half = _define(width=4), _define(width=4, dtype="bfloat16")
  weights = _params.init(exact, 0)
  want, got = (_apply(d, weights, _images()) for d in (exact, half))
  assert got.dtype == jnp.float32
  assert float(jnp.abs(got - want).mean() / jnp.abs(want).mean()) < 0.1


def test_empty_batch():
  definition = _define("plain_global", width=4)
  y = _apply(definition, _params.init(definition, 0), _images(0))
  assert y.shape == (0, SIZE, SIZE, 3)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"width": 0}, "width and kernel_size"),
    ({"kernel_size": 0}, "width and kernel_size"),
    ({"dtype": "float16"}, "dtype must be"),
  ],
)
def test_config_errors(options, message):
  with pytest.raises(ValueError, match=message):
    EncoderConfig(**options)


# Light and pose.


@pytest.mark.parametrize("color", [False, True])
def test_light_starts_near_one(color):
  config = LightNetConfig(width=4, color=color)
  definition = _light.define(architecture("paper"), config)
  weights = _params.init(definition, 0)
  got, rgb = _apply(definition, weights, _images())
  assert got.shape == (2, 4, 4, 1)
  assert rgb.shape == (2, 3)
  np.testing.assert_allclose(got, 1, atol=0.35)
  np.testing.assert_allclose(rgb, 1, atol=0.35 if color else 0)
  dark = jax.tree.map(lambda v: -100 * jnp.abs(v), weights["output"])
  got, _ = _apply(definition, {**weights, "output": dark}, _images())
  assert float(got.min()) >= 0


@pytest.mark.parametrize(("size", "stages"), [(64, 4), (96, 5), (512, 7), (4, 0)])
def test_pose_net_ends_in_six_numbers(size, stages):
  definition = _pose.define(PoseNetConfig(width=4), size)
  layers = sum(n.startswith("layer") for n in definition.shapes)
  assert layers == max(2 * stages - 1, 0)
  side = definition.shapes["output"]["kernel"].shape[0]
  assert side == -(-size // 2**stages)
  assert side <= 4
  if size == 64:
    got = _apply(definition, _params.init(definition, 0), _images(3, 64))
    assert got.shape == (3, 6)
    assert 0 < float(jnp.abs(got).max()) < 0.5
    with pytest.raises(ValueError, match="64 x 64 px"):
      _params.apply(definition, _params.init(definition, 0), _images(1, 32))


def test_pose_is_bounded_in_front_of_the_camera():
  definition = _pose.define(PoseNetConfig(width=4), 16)
  weights = jax.tree.map(lambda v: 100 * np.asarray(v), _params.init(definition, 0))
  got = np.array(_apply(definition, weights, _images(8, 16)))
  assert np.isfinite(got).all()
  assert (np.abs(got) < [3.21, 3.21, 3.21, 4.01, 4.01, 6.01]).all()
  with pytest.raises(ValueError, match="size must be at least"):
    _pose.define(PoseNetConfig(), 2)


# Discriminators.


def test_three_discriminators_at_three_scales():
  nets = MultiScaleDiscriminator(width=4)
  weights = nets.init(0)
  assert sorted(weights) == ["scale0", "scale1", "scale2"]
  first = [np.array(weights[s]["layer1"]["kernel"]) for s in sorted(weights)]
  assert not np.array_equal(first[0], first[1])
  maps = jax.jit(nets)(weights, _images(2, 64))
  assert [m.shape for m in maps] == [(2, 8, 8, 1), (2, 4, 4, 1), (2, 2, 2, 1)]
  big = jax.eval_shape(nets, weights, jax.ShapeDtypeStruct((1, 512, 512, 3), "float32"))
  assert [m.shape[1] for m in big] == [64, 32, 16]


def test_spectral_norm_is_the_largest_singular_value():
  random = np.random.default_rng(0)
  steep = random.normal(size=(48, 6)) * np.logspace(0, 2, 6)
  for kernel in (
    random.normal(size=(4, 4, 32, 64)),
    steep.reshape(4, 4, 3, 6),
    random.normal(size=(4, 4, 8, 1)),
  ):
    exact = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
    found = float(_spectral.spectral_norm(jnp.asarray(kernel, jnp.float32)))
    assert found == pytest.approx(exact, rel=0.03)
  assert np.isfinite(float(_spectral.spectral_norm(jnp.zeros((3, 3, 2, 4)))))


def test_a_spectrally_normalized_discriminator_has_a_bounded_slope():
  nets = MultiScaleDiscriminator(width=4, scales=1, normalization="spectral")
  weights = nets.init(0)
  assert "norm" not in weights["scale0"]["layer2"]
  images = jnp.asarray(_images(2, 32))
  steep = jax.tree.map(lambda leaf: 100 * np.asarray(leaf), weights)
  total = lambda x, weights: nets(weights, x)[0][:, 2, 2].sum()
  gradient = jax.jit(jax.grad(total))
  slope = lambda weights: float(jnp.linalg.norm(gradient(images, weights)[0]))

  # A kernel's norm as a matrix bounds its norm as a convolution up to its side, 4.
  assert 0 < slope(weights) < 4**5
  assert slope(steep) == pytest.approx(slope(weights), rel=1e-3)
  plain = MultiScaleDiscriminator(width=4, scales=1)
  with pytest.raises(ValueError, match="of another architecture"):
    plain(weights, images)


def test_discriminator_errors():
  with pytest.raises(ValueError, match="normalization must be one of group, spectral"):
    MultiScaleDiscriminator(normalization="batch")
  with pytest.raises(ValueError, match="depth must be >= 1"):
    MultiScaleDiscriminator(depth=0)
  nets = MultiScaleDiscriminator(width=4)
  with pytest.raises(ValueError, match="images of 4 px or more"):
    nets(nets.init(0), _images(1, 3))


# Parameters.


def test_parameters_depend_on_seed_and_path_only():
  definition = _define(width=4)
  one, same, other = (_params.init(definition, seed) for seed in (1, 1, 2))
  kernel = lambda tree: np.array(tree["layer7"]["conv"]["kernel"])
  np.testing.assert_array_equal(kernel(one), kernel(same))
  assert not np.array_equal(kernel(one), kernel(other))
  plain = _define("plain", width=4)
  np.testing.assert_array_equal(kernel(one), kernel(_params.init(plain, 1)))


def test_parameters_of_another_architecture_are_named():
  definition = _define(width=4)
  wider = _params.init(_define(width=8), 0)
  with pytest.raises(
    ValueError, match=r"encoder/layer1/conv/bias should have .*\(4,\)"
  ):
    _params.apply(definition, wider, _images())
  plain = _params.init(_define("plain", width=4), 0)
  with pytest.raises(ValueError, match=r"predictor/bias should .*missing"):
    _params.apply(definition, plain, _images())
