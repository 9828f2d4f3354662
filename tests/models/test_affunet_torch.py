"""The whole AffUNet against the same network in PyTorch, with the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.models import EncoderConfig, _architectures, _params, architecture
from affjax.native import library

torch = pytest.importorskip("torch", reason="PyTorch is in the extra `reference`")
from experiments.pytorch_reference import affine_conv, networks  # noqa: E402
from experiments.pytorch_reference import weights as transplant  # noqa: E402

BACKENDS = ["xla"]
if library.status("affine_conv", "cpu").ready:
  BACKENDS.append("cpp")


def _network(backend="auto", name="paper", **options):
  """A definition, and parameters none of which is where it started."""
  config = EncoderConfig(width=8, backend=backend, **options)
  definition = _architectures.define(architecture(name), config)
  rng = np.random.default_rng(0)
  stir = lambda v: np.asarray(v) + 0.05 * rng.standard_normal(v.shape, np.float32)
  return definition, jax.tree.map(stir, _params.init(definition, 0))


def _reference(weights, *, frame="window", form=affine_conv.stacked):
  """The same network in PyTorch, in double precision."""
  state = transplant.to_state(weights)
  net = networks.affunet_like(state, frame=frame, form=form)
  net.load_state_dict(state)
  return net.double()


def _applied(net, photos):
  with torch.no_grad():
    return net(torch.tensor(photos, dtype=torch.float64)).numpy()


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
  want = _applied(_reference(weights), photos)
  assert np.abs(want).std() > 0.1
  _close(got, want, 1e-4)


@pytest.mark.parametrize(
  ("options", "size"),
  [
    ({"name": "plain"}, (32, 32)),
    ({"name": "paper_absolute"}, (32, 32)),
    ({}, (19, 30)),
    ({"kernel_size": 4}, (17, 24)),
    ({"name": "plain_global"}, (40, 72)),
  ],
  ids=str,
)
def test_other_networks_and_odd_sizes(options, size):
  definition, weights = _network("xla", **options)
  photos = np.random.default_rng(1).random((2, *size, 3), np.float32)
  got = jax.jit(lambda w, x: _params.apply(definition, w, x))(weights, photos)
  frame = "absolute" if "absolute" in options.get("name", "") else "window"
  _close(got, _applied(_reference(weights, frame=frame), photos), 1e-4)


def test_every_form_gives_the_same_network():
  _, weights = _network()
  first, *others = (
    _applied(_reference(weights, form=form), _photos(1, 16))
    for form in affine_conv.forms().values()
  )
  for other in others:
    _close(other, first, 1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_of_every_parameter_agree(backend):
  definition, weights = _network(backend)
  photos = _photos(n=1, size=16)
  loss = lambda w: jnp.sum(_params.apply(definition, w, jnp.asarray(photos)) ** 2)
  got = transplant.to_state(jax.jit(jax.grad(loss))(weights))
  net = _reference(weights)
  net(torch.tensor(photos, dtype=torch.float64)).square().sum().backward()
  assert got.keys() == dict(net.named_parameters()).keys()
  for name, theirs in net.named_parameters():
    # Relative to the parameter's own gradients, but for those that cancel to nothing.
    scale = max(float(theirs.grad.abs().max()), 1e-2)
    np.testing.assert_allclose(got[name], theirs.grad, rtol=0, atol=1e-3 * scale)
