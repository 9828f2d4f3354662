"""The whole AffUNet against the same network in PyTorch, with the same numbers."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.models import EncoderConfig, _architectures, _params, architecture
from affjax.native import library

torch = pytest.importorskip("torch", reason="PyTorch is in the extra `reference`")
reference = importlib.import_module("reference.torch_affunet")

BACKENDS = ["xla"]
if library.status("affine_conv", "cpu").ready:
  BACKENDS.append("cpp")


def _network(backend="auto", name="paper", **options):
  """A definition, and parameters none of which is where it started."""
  config = EncoderConfig(width=8, backend=backend, **options)
  definition = _architectures.define(architecture(name), config)
  rng = np.random.default_rng(0)
  stir = lambda v: v + 0.05 * rng.standard_normal(v.shape, np.float32)
  return definition, jax.tree.map(stir, _params.init(definition, 0))


def _photos(n=2, size=32):
  return np.random.default_rng(1).random((n, size, size, 3), np.float32)


def _close(got, want, tolerance):
  scale = float(np.abs(want).max())
  np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("backend", BACKENDS)
def test_transplanted_weights_give_equal_outputs(backend):
  definition, weights = _network(backend)
  photos = _photos()
  got = _params.apply(definition, weights, jnp.asarray(photos))
  double = reference.transplanted(weights, dtype=torch.float64)
  images = torch.tensor(photos, dtype=torch.float64).permute(0, 3, 1, 2)
  want = reference.affunet(double, images).permute(0, 2, 3, 1).numpy()
  assert np.abs(want).std() > 0.1
  _close(got, want, 1e-4)


@pytest.mark.parametrize(
  ("options", "twin", "size"),
  [
    ({"name": "plain"}, {"affine": False}, (32, 32)),
    ({"name": "paper_absolute"}, {"frame": "absolute"}, (32, 32)),
    ({}, {}, (19, 30)),
    ({"kernel_size": 4}, {}, (17, 24)),
  ],
  ids=str,
)
def test_other_networks_and_odd_sizes(options, twin, size):
  definition, weights = _network("xla", **options)
  photos = np.random.default_rng(1).random((2, *size, 3), np.float32)
  got = jax.jit(lambda w, x: _params.apply(definition, w, x))(weights, photos)
  images = torch.tensor(photos, dtype=torch.float64).permute(0, 3, 1, 2)
  double = reference.transplanted(weights, dtype=torch.float64)
  want = reference.affunet(double, images, **twin).permute(0, 2, 3, 1).numpy()
  _close(got, want, 1e-4)


def test_every_form_gives_the_same_network():
  _, weights = _network()
  double = reference.transplanted(weights, dtype=torch.float64)
  images = torch.tensor(_photos(1, 16), dtype=torch.float64).permute(0, 3, 1, 2)
  forms = importlib.import_module("reference.torch_affine_conv").forms()
  first, *others = (reference.affunet(double, images, form=f) for f in forms.values())
  for other in others:
    _close(other.numpy(), first.numpy(), 1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_every_parameter_agree(backend):
  definition, weights = _network(backend)
  photos = _photos(n=1, size=16)
  loss = lambda w: jnp.sum(_params.apply(definition, w, jnp.asarray(photos)) ** 2)
  got = reference.transplanted(jax.jit(jax.grad(loss))(weights), dtype=torch.float64)
  leaves = reference.transplanted(weights, dtype=torch.float64)
  flat = jax.tree.leaves(leaves)
  for leaf in flat:
    leaf.requires_grad_()
  images = torch.tensor(photos, dtype=torch.float64).permute(0, 3, 1, 2)
  reference.affunet(leaves, images).square().sum().backward()
  for ours, theirs in zip(jax.tree.leaves(got), flat, strict=True):
    # Relative to the parameter's own gradients, but for those that cancel to nothing.
    scale = max(float(theirs.grad.abs().max()), 1e-2)
    np.testing.assert_allclose(ours, theirs.grad, rtol=0, atol=1e-3 * scale)
