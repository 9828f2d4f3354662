"""Every term against its NumPy twin, at its edges, under jit and on four devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax import losses
from affjax.losses import Mean
from affjax.models import load_features
from tests.reference import losses as twin

N, SIZE = 4, 32


def _uniform(*shape, seed=0):
  return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


@functools.cache
def _net():
  return load_features(layers=(1, 3))


def _cases():
  """Name -> (function of a differentiable first argument, argument, value expected)."""
  image, diffuse = _uniform(N, 16, 16, 3, seed=1), _uniform(N, SIZE, SIZE, 3, seed=2)
  alpha = _uniform(N, 16, 16, 1, seed=3)
  # Unequal between the samples, so that a mean of means would be wrong.
  visible = _uniform(N, 16, 16, 1, seed=4) > [
    [[[0.1]]],
    [[[0.5]]],
    [[[0.9]]],
    [[[0.95]]],
  ]
  visible = visible.astype(np.float32)
  render = _uniform(N, 16, 16, 3, seed=5) * alpha
  position, target = np.random.default_rng(6).normal(size=(2, N, SIZE, SIZE, 3))
  position, target = position.astype(np.float32), target.astype(np.float32)
  support = _uniform(SIZE, SIZE, seed=7) > 0.4
  pose, true_pose = np.random.default_rng(8).normal(size=(2, N, 6)).astype(np.float32)
  points = np.random.default_rng(9).normal(size=(11, 3)).astype(np.float32)
  has = np.array([1, 0, 1, 0], np.float32)
  light = _uniform(N, 8, 8, 1, seed=10)
  fake = [_uniform(N, k, k, 1, seed=k) * 4 - 2 for k in (8, 4, 2)]
  real = [_uniform(N, k, k, 1, seed=9 * k) * 4 - 2 for k in (8, 4, 2)]
  one = [0, 2]

  def features_apart(a, b):
    return np.mean([
      sum(np.abs(p - q).mean() for p, q in zip(*map(_twin_features, pair), strict=True))
      for pair in zip(a, b, strict=True)
    ])  # fmt: skip

  return {
    "image_l1": (
      lambda x: losses.image_l1(x, alpha, image, visible),
      render,
      twin.image_l1(render, alpha, image, visible),
    ),
    "position_l1": (
      lambda x: losses.position_l1(x, target, support),
      position,
      twin.position_l1(position, target, support),
    ),
    "pose_l1": (
      lambda x: losses.pose_l1(x, true_pose, has, points),
      pose,
      twin.pose_l1(pose, true_pose, has, points),
    ),
    "perceptual": (
      lambda x: losses.perceptual(x, image, _net()),
      render,
      lambda: features_apart(render, image),
    ),
    "symmetry": (losses.symmetry, diffuse, twin.symmetry(diffuse)),
    "deviation": (
      lambda x: losses.deviation(x, support),
      diffuse,
      twin.deviation(diffuse, support),
    ),
    "variation": (losses.variation, light, twin.variation(light)),
    "adversarial_generator": (
      losses.adversarial_generator,
      fake,
      twin.adversarial_generator(fake),
    ),
    "adversarial_discriminator": (
      lambda x: losses.adversarial_discriminator(x, fake),
      real,
      twin.adversarial_discriminator(real, fake),
    ),
    "diffuse_l1": (
      lambda x: losses.diffuse_l1(x, target, has, support),
      position,
      np.abs(position - target)[one][:, support].mean(),
    ),
    "diffuse_perceptual": (
      lambda x: losses.diffuse_perceptual(x, image, has, _net()),
      render,
      lambda: features_apart(render[one], image[one]),
    ),
  }


def _twin_features(image):
  net = _net()
  kernels, biases = ([np.asarray(x) for x in xs] for xs in (net.kernels, net.biases))
  mean, std = np.asarray(net.mean), np.asarray(net.std)
  return twin.vgg_features(image, kernels, biases, mean, std, net.blocks, net.layers)


CASES = _cases()


@pytest.mark.parametrize("name", CASES)
def test_equals_the_twin_eagerly_and_jitted(name):
  loss, argument, expected = CASES[name]
  expected = expected() if callable(expected) else expected
  assert isinstance(loss(argument), Mean)
  np.testing.assert_allclose(loss(argument).value, expected, rtol=2e-5)
  jitted = jax.jit(lambda x: loss(x).value)
  np.testing.assert_allclose(jitted(argument), expected, rtol=2e-5)


@pytest.mark.parametrize(
  "name", sorted(set(CASES) - {"perceptual", "diffuse_perceptual"})
)
def test_gradient_equals_finite_differences(name):
  loss, argument, _ = CASES[name]
  value = jax.jit(lambda x: loss(x).value)
  # In double precision the step can be so small that no |difference| changes its sign.
  with jax.enable_x64(True):
    argument = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), argument)
    direction = jax.tree.map(
      lambda x: np.random.default_rng(0).normal(size=x.shape), argument
    )
    gradient = jax.jit(jax.grad(lambda x: loss(x).value))(argument)
    slope = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, direction)))

    def at(step):
      return value(jax.tree.map(lambda x, d: x + step * d, argument, direction))

    np.testing.assert_allclose((at(1e-7) - at(-1e-7)) / 2e-7, slope, rtol=1e-3)


@pytest.mark.parametrize("name", CASES)
def test_four_devices_equal_one(name):
  """A batch that is split over devices, with other masks on each, has the same loss."""
  loss, argument, _ = CASES[name]
  mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  split = jax.NamedSharding(mesh, jax.P("data"))
  sharded = jax.tree.map(lambda x: jax.device_put(x, split), argument)
  value = jax.jit(jax.value_and_grad(lambda x: loss(x).value))
  expected, expected_gradient = value(argument)
  found, gradient = value(sharded)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
    gradient,
    expected_gradient,
  )


class TestImageL1:
  def test_nothing_to_see_is_zero_with_zero_gradient(self):
    image = _uniform(1, 8, 8, 3)
    for alpha, visible in ((0.0, 1.0), (1.0, 0.0)):
      mask = np.full((1, 8, 8, 1), 1, np.float32)
      loss = lambda r, a=alpha, v=visible, m=mask: (
        losses.image_l1(r, a * m, image, v * m).value
      )
      value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.zeros((1, 8, 8, 3)))
      assert value == 0
      np.testing.assert_array_equal(gradient, 0)

  def test_does_not_depend_on_the_head_s_share_of_the_image(self):
    def at(fraction):
      alpha = (np.arange(8) < 8 * fraction).reshape(1, 8, 1, 1) * np.ones((1, 8, 8, 1))
      image = jnp.full((1, 8, 8, 3), 0.5)
      render = 0.75 * jnp.tile(alpha, (1, 1, 1, 3))
      return losses.image_l1(render, alpha, image, np.ones((1, 8, 8, 1))).value

    np.testing.assert_allclose([at(0.25), at(1.0)], 0.25, rtol=1e-6)

  def test_silhouette_grows_over_matching_and_shrinks_from_differing_pixels(self):
    """Gradient to a border pixel's alpha, the rest of the head being off by 0.1."""

    def slope(border_image):
      image = jnp.full((1, 1, 4, 3), 0.4).at[0, 0, 3].set(border_image)

      def loss(alpha):
        cover = jnp.ones((1, 1, 4, 1)).at[0, 0, 3, 0].set(alpha)
        render = jnp.tile(0.5 * cover, (1, 1, 1, 3))
        return losses.image_l1(render, cover, image, jnp.ones((1, 1, 4, 1))).value

      return jax.jit(jax.grad(loss))(0.5)

    assert slope(0.5) < 0 < slope(0.9)

  def test_a_bad_neighbor_does_not_make_a_head_grow(self):
    """The gradient of an image does not know the other images of its batch."""
    image, render = _uniform(2, 8, 8, 3), _uniform(2, 8, 8, 3, seed=1)
    visible = np.ones((2, 8, 8, 1), np.float32)

    def slope(image):
      loss = lambda a: losses.image_l1(render * a, a, image, visible).value
      return jax.jit(jax.grad(loss))(jnp.full((2, 8, 8, 1), 0.5))[0]

    other = np.stack([image[0], 1 - image[1]])
    np.testing.assert_allclose(slope(image), slope(other), atol=1e-7)

  def test_an_image_without_a_head_does_not_count(self):
    image, ones = _uniform(2, 8, 8, 3), np.ones((2, 8, 8, 1), np.float32)
    alpha = ones * np.array([1, 0], np.float32).reshape(2, 1, 1, 1)
    found = losses.image_l1((image + 0.1) * alpha, alpha, image, ones).value
    np.testing.assert_allclose(found, 0.1, rtol=1e-4)

  def test_identical_images_have_a_finite_gradient(self):
    image = jnp.asarray(_uniform(1, 8, 8, 3))
    ones = jnp.ones((1, 8, 8, 1))
    gradient = jax.jit(jax.grad(lambda r: losses.image_l1(r, ones, image, ones).value))(
      image
    )
    assert np.isfinite(gradient).all()

  @pytest.mark.usefixtures("unchecked_shapes")
  def test_mismatch_raises(self):
    ones = jnp.ones((1, 8, 8, 1))
    with pytest.raises(ValueError, match=r"render and image .*8, 4, 3"):
      losses.image_l1(jnp.ones((1, 8, 4, 3)), ones, jnp.ones((1, 8, 8, 3)), ones)
    with pytest.raises(ValueError, match="alpha and visible"):
      losses.image_l1(
        jnp.ones((1, 8, 8, 3)), ones, jnp.ones((1, 8, 8, 3)), jnp.ones((1, 1, 1, 1))
      )


class TestGeometry:
  def test_position_support_may_be_empty(self):
    position = jnp.ones((1, 4, 4, 3))
    loss = lambda p: losses.position_l1(p, 0 * p, jnp.zeros((4, 4))).value
    value, gradient = jax.jit(jax.value_and_grad(loss))(position)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)

  def test_unknown_poses_may_hold_nan(self):
    pose = jnp.zeros((2, 6))
    target = jnp.stack([jnp.zeros(6), jnp.full(6, jnp.nan)])
    points = _uniform(5, 3)
    loss = lambda p: losses.pose_l1(p, target, jnp.array([1.0, 0.0]), points).value
    value, gradient = jax.jit(jax.value_and_grad(loss))(pose)
    assert value == 0
    assert np.isfinite(gradient).all()

  def test_a_full_turn_is_no_difference(self):
    pose = jnp.array([[0.0, 1.0, 0.0, 0.1, 0.2, 0.3]])
    turned = pose.at[0, 1].add(-2 * np.pi)
    points = _uniform(5, 3)
    found = losses.pose_l1(pose, turned, jnp.ones(1), points).value
    np.testing.assert_allclose(found, 0, atol=1e-6)

  def test_translation_is_measured_in_dm(self):
    pose = jnp.zeros((1, 6))
    moved = pose.at[0, 3:].set(0.1)
    found = losses.pose_l1(pose, moved, jnp.ones(1), _uniform(5, 3)).value
    np.testing.assert_allclose(found, 0.1, rtol=1e-5)


class TestRegularization:
  def test_a_symmetric_map_is_free_and_support_is_respected(self):
    half = _uniform(2, 32, 16, 3)
    whole = np.concatenate([half, half[:, :, ::-1]], 2)
    np.testing.assert_allclose(losses.symmetry(whole).value, 0, atol=1e-6)
    lopsided = np.zeros((1, 32, 32, 3), np.float32)
    lopsided[:, 4, 4] = 1
    support = np.zeros((32, 32), bool)
    support[20:] = True
    assert losses.symmetry(lopsided).value > 0
    assert losses.symmetry(lopsided, support).value == 0

  @pytest.mark.parametrize("color", [0.0, 0.3])
  def test_skin_of_one_color_has_no_deviation_and_a_finite_gradient(self, color):
    diffuse = jnp.full((1, 32, 32, 3), color)
    skin = jnp.ones((32, 32))
    value, gradient = jax.value_and_grad(lambda d: losses.deviation(d, skin).value)(
      diffuse
    )
    np.testing.assert_allclose(value, 0, atol=1e-6)
    assert np.isfinite(gradient).all()

  def test_no_skin_is_zero_with_zero_gradient(self):
    loss = lambda d: losses.deviation(d, jnp.zeros((32, 32))).value
    value, gradient = jax.jit(jax.value_and_grad(loss))(_uniform(1, 32, 32, 3))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)

  def test_deviation_is_of_each_image_not_between_them(self):
    diffuse = jnp.stack([jnp.full((32, 32, 3), c) for c in (0.1, 0.9)])
    found = losses.deviation(diffuse, jnp.ones((32, 32))).value
    np.testing.assert_allclose(found, 0, atol=1e-6)

  def test_variation_of_a_light_does_not_depend_on_its_resolution(self):
    def ramp(size):
      place = (jnp.arange(size) + 0.5) / size
      return losses.variation(
        jnp.broadcast_to(place[:, None, None], (1, size, size, 1))
      )

    np.testing.assert_allclose([ramp(8).value, ramp(64).value], 1 / 64, rtol=1e-5)

  @pytest.mark.usefixtures("unchecked_shapes")
  def test_variation_needs_neighbors(self):
    with pytest.raises(ValueError, match="light must be at least 2 x 2"):
      losses.variation(jnp.zeros((1, 1, 8, 1)))


class TestAdversarial:
  def test_extreme_logits_stay_finite(self):
    extreme = [jnp.array([1e4, -1e4]).reshape(2, 1, 1, 1)]
    value, gradient = jax.value_and_grad(
      lambda x: losses.adversarial_generator(x).value
    )(extreme)
    np.testing.assert_allclose(value, 5e3)
    # Non-saturating: the fake that is found out has the full slope.
    np.testing.assert_allclose(gradient[0].ravel(), [0, -0.5])

  def test_undecided_discriminators_cost_log_two_each_way(self):
    zeros = [jnp.zeros((2, k, k, 1)) for k in (4, 2, 1)]
    found = losses.adversarial_discriminator(zeros, zeros).value
    np.testing.assert_allclose(found, 6 * np.log(2), rtol=1e-6)

  @pytest.mark.usefixtures("unchecked_shapes")
  def test_scales_must_match(self):
    with pytest.raises(ValueError, match="one entry for each scale, got 1 and 2"):
      losses.adversarial_discriminator([jnp.zeros(1)], [jnp.zeros(1)] * 2)
    with pytest.raises(ValueError, match=r"fake must hold .*at least one scale"):
      losses.adversarial_generator([])


class TestAuxiliary:
  def test_samples_without_a_map_are_not_read(self):
    diffuse = jnp.asarray(_uniform(2, 16, 16, 3))
    target = diffuse.at[1].set(jnp.nan)
    has, net = jnp.array([1.0, 0.0]), _net()
    for loss in (
      lambda d: losses.diffuse_l1(d, target, has).value,
      lambda d: losses.diffuse_perceptual(d, target, has, net).value,
    ):
      value, gradient = jax.jit(jax.value_and_grad(loss))(diffuse)
      assert value == 0
      assert np.isfinite(gradient).all()

  def test_no_sample_with_a_map_is_zero(self):
    diffuse, net = jnp.asarray(_uniform(2, 16, 16, 3)), _net()
    for loss in (
      lambda d: losses.diffuse_l1(d, 0 * d, jnp.zeros(2)).value,
      lambda d: losses.diffuse_perceptual(d, 0 * d, jnp.zeros(2), net).value,
    ):
      value, gradient = jax.jit(jax.value_and_grad(loss))(diffuse)
      assert value == 0
      np.testing.assert_array_equal(gradient, 0)


def test_perceptual_sends_no_gradient_to_the_target():
  image = jnp.asarray(_uniform(1, 8, 8, 3))
  net = _net()
  loss = lambda t: losses.perceptual(image, t, net).value
  np.testing.assert_array_equal(jax.jit(jax.grad(loss))(0.5 * image), 0)
