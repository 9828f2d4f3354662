import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.data import to_batch
from affjax.geometry import uv


def _records(template, count=2, size=16, maps=64):
  rng = np.random.default_rng(0)
  byte = lambda *shape: rng.integers(0, 256, shape, np.uint8)
  noise = rng.standard_normal((count, *template.vertices.shape)) * 0.01
  return {
    "image": byte(count, size, size, 3),
    "visible": byte(count, size, size, 1),
    "vertices": (template.vertices + noise).astype(np.float32),
    "pose": rng.standard_normal((count, 6)).astype(np.float32),
    "diffuse": byte(count, maps, maps, 3),
    "light": np.ones((count, maps // 8, maps // 8, 1), np.float32),
    "has_pose": np.ones(count, np.float32),
    "has_diffuse": np.zeros(count, np.float32),
  }


def test_bytes_become_unit_floats_and_vertices_maps(head):
  template = head.template
  table = uv.uv_table(template, 64)
  records = _records(template)
  batch = jax.jit(lambda r: to_batch(r, table))(records)
  assert batch.image.dtype == np.float32
  np.testing.assert_allclose(batch.image * 255, records["image"], atol=1e-3)
  np.testing.assert_allclose(batch.visible * 255, records["visible"], atol=1e-3)
  assert batch.position.shape == (2, 64, 64, 3)
  expected = uv.map_from_vertices(jnp.asarray(records["vertices"]), table)
  np.testing.assert_allclose(batch.position, expected, atol=1e-5)
  np.testing.assert_array_equal(batch.has_diffuse, [0, 0])


def test_says_what_is_missing_and_what_does_not_fit(head):
  table = uv.uv_table(head.template, 64)
  records = _records(head.template)
  with pytest.raises(ValueError, match="lacks pose"):
    to_batch({k: v for k, v in records.items() if k != "pose"}, table)
  with pytest.raises(ValueError, match="32 texels wide, the table 64"):
    to_batch(_records(head.template, maps=32), table)
