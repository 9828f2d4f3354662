"""Random heads of the embedded model, retargeted to MeInGame's and ICT's meshes."""

import jax.numpy as jnp
import numpy as np
import pytest

from affjax.heads import Retargeter, _matching, open_head, sample_identity
from experiments.tables import heads_at_hand


def _area(template, vertices):
  corner = vertices[template.faces]
  return np.linalg.norm(
    np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=-1
  )


def _ear(template, vertices, side):
  """The mean of the 60 outermost vertices on a side above the mouth: an ear."""
  high = np.flatnonzero(vertices[:, 1] > -0.6)
  outer = high[np.argsort(-side * vertices[high, 0])[:60]]
  return vertices[outer].mean(0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["meingame", "ict"])
def test_heads_stay_clean_and_keep_their_ears(name):
  files = {"meingame": heads_at_hand.MEINGAME, "ict": heads_at_hand.ICT}
  if not files[name].exists():
    pytest.skip(f"{files[name]} is not here ($AFFJAX_SHARED)")
  model = open_head("embedded")
  target = heads_at_hand.templates()[name]
  rng = np.random.default_rng(7)
  identity = sample_identity(rng, model, 6)
  expression = rng.uniform(0, 0.25, (6, len(model.expression_names)))
  heads = model.vertices(jnp.asarray(identity), jnp.asarray(expression, jnp.float32))
  carry = Retargeter(model.template, target)
  got = np.asarray(carry(heads))
  own = _matching.folded(target.vertices, target.faces)
  for source, head in zip(np.asarray(heads), got, strict=True):
    area = _area(target, head)
    folded = _matching.folded(head, target.faces) & ~own
    assert area[folded].sum() < 1e-3 * area.sum()
    side = lambda v: np.linalg.norm(
      v[target.faces] - v[np.roll(target.faces, 1, 1)], axis=-1
    )
    ratio = (side(head) / np.maximum(side(target.vertices), 1e-3)).max(1)
    assert (ratio > 3).mean() < 0.005
    for way in (-1, 1):
      apart = _ear(target, head, way) - _ear(model.template, source, way)
      print(apart)
      assert np.linalg.norm(apart) < 0.1
