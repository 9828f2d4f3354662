"""The backends of the rasterizer against the definition in C++, to the bit."""

import definition
import hostile
import jax
import numpy as np
import pytest

from affjax.native import compilers
from affjax.render import _xla

try:
  compilers.find("cpu")
except compilers.CompileError as error:
  pytest.skip(f"needs a C++ compiler: {error}", allow_module_level=True)

nearest = jax.jit(_xla.nearest, static_argnums=2)


@pytest.mark.parametrize("resolution", [(16, 20), (37, 33)])
@pytest.mark.parametrize("kind", hostile.KINDS)
def test_portable_search_equals_the_definition(kind, resolution):
  """In all, 1,280 scenes: ids and depths have the same bits."""
  for seed in range(2):
    pos, tri = hostile.scenes(kind, seed, batch=40, resolution=resolution)
    ids, depth = definition.rasterize(pos, tri, resolution)
    found_depth, found = nearest(pos, tri, resolution)
    np.testing.assert_array_equal(np.asarray(found), ids)
    np.testing.assert_array_equal(np.asarray(found_depth), depth)
    assert (ids > 0).any()
