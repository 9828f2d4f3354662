"""Coarse heads for training: their errors, their mixture, and what they refuse."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.data import _guides, degradation, to_batch, with_guide_noise
from affjax.geometry import uv
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.heads import open_head, random_vertices
from affjax.train import mirror
from affjax.types import Camera

COUNT, SIZE = 96, 8
RESULT = pathlib.Path(__file__).parents[2] / "experiments" / "results" / "guides.json"


@pytest.fixture(scope="module")
def model():
  return open_head("embedded")


def _record(model, count=COUNT, *, decided=0.5):
  rng = np.random.default_rng(0)
  noise = [with_guide_noise({}, np.random.default_rng(k)) for k in range(count)]
  noise = np.stack([row[_guides.NOISE] for row in noise])
  if decided is not None:
    noise[:, -1] = decided
  return {
    "image": np.zeros((count, SIZE, SIZE, 3), np.uint8),
    "visible": np.full((count, SIZE, SIZE, 1), 128, np.uint8),
    "vertices": random_vertices(rng, model, count),
    "pose": (rng.standard_normal((count, 6)) * 0.2).astype(np.float32),
    "diffuse": np.zeros((count, SIZE, SIZE, 3), np.uint8),
    "has_pose": np.ones(count, np.float32),
    "has_diffuse": np.zeros(count, np.float32),
    _guides.NOISE: noise,
  }


@pytest.fixture(scope="module")
def record(model):
  return _record(model)


@pytest.fixture(scope="module")
def batch_of(model):
  table = uv.uv_table(model.template, SIZE)
  return jax.jit(lambda r: to_batch(r, table, guides=degradation(model)))


@pytest.fixture(scope="module")
def guide(batch_of, record):
  return batch_of(record).guide


def _front(model):
  return model.template.vertices[:, 2] > 0.3


def test_coarse_heads_are_as_wrong_as_fits(model, record, guide):
  """The mean error beside the mean head's is that of the measured fits."""
  front = _front(model)
  error = lambda v: np.linalg.norm(v - record["vertices"], axis=-1)[:, front].mean()
  ratio = error(np.asarray(guide.vertices)) / error(model.template.vertices)
  measured = json.loads(RESULT.read_text())
  assert ratio == pytest.approx(measured["fit"]["ratio"], abs=0.06)
  # The two of the script, on the same heads, agree as well.
  same = measured["degraded"]["ratio"]
  assert same == pytest.approx(measured["fit"]["ratio"], abs=0.05)


def test_coarse_heads_lie_on_the_photo_as_well_as_fits(model, record, guide):
  front = _front(model)
  place = lambda v, p: np.asarray(
    world_to_px(head_to_world(jnp.asarray(v), jnp.asarray(p)), Camera(), 64, 64)
  )[:, front]
  away = place(guide.vertices, guide.pose) - place(record["vertices"], record["pose"])
  px = np.linalg.norm(away, axis=-1).mean()
  fit = json.loads(RESULT.read_text())["fit"]["places_px_of_64"]
  assert px == pytest.approx(fit, rel=0.25)


def test_coefficients_are_read_off_vertices(model):
  rng = np.random.default_rng(3)
  found = degradation(model)
  identity = rng.standard_normal((4, len(model.identity_basis))).astype(np.float32)
  units = np.zeros((4, len(model.expression_basis)), np.float32)
  heads = np.asarray(model.vertices(identity, units))
  away = (heads - model.template.vertices)[:, found.points].reshape(4, -1)
  got = away @ found.reading.T
  # The modes that are not read are noise.
  close = np.corrcoef(got[:, :16].ravel(), identity[:, :16].ravel())[0, 1]
  assert close > 0.97


def test_some_samples_have_no_guide_and_some_a_wrong_one(model, record, batch_of):
  decided = np.linspace(0, 0.999, COUNT, dtype=np.float32)
  some = {**record, "has_pose": np.ones(COUNT, np.float32)}
  some[_guides.NOISE] = record[_guides.NOISE].copy()
  some[_guides.NOISE][:, -1] = decided
  some["has_pose"][50] = 0
  guide = batch_of(some).guide
  want = (decided <= 1 - _guides._NONE).astype(np.float32)
  want[50] = 0
  np.testing.assert_array_equal(guide.known, want)
  wrong = decided < _guides._WRONG
  away = np.abs(np.asarray(guide.pose) - record["pose"])[:, :3].sum(1)
  assert away[wrong].mean() > 3 * away[~wrong].mean()
  assert 2 < wrong.sum() < 8


def test_skin_is_soft_or_unknown(model, record, guide):
  skin = np.asarray(guide.skin)
  share = (skin == 1).mean()
  assert share == pytest.approx(_guides._BARE, abs=0.1)
  np.testing.assert_allclose(skin[skin != 1], 128 / 255, atol=1e-6)
  masks = np.zeros((1, 256, 256, 1), np.float32)
  masks[:, 100:] = 1
  soft = np.asarray(_guides._soft(jnp.asarray(masks)))
  assert soft.shape == masks.shape
  assert 0.1 < soft[0, 100, 0, 0] < 0.9
  assert (soft[0, :90] == 0).all()


def test_batches_hold_guides_only_where_they_are_asked_for(model, record, guide):
  table = uv.uv_table(model.template, SIZE)
  assert to_batch(record, table).guide is None
  assert guide.vertices.shape == record["vertices"].shape
  bare = {name: value for name, value in record.items() if name != _guides.NOISE}
  with pytest.raises(ValueError, match="record lacks guide_noise"):
    to_batch(bare, table, guides=degradation(model))


def test_guides_are_mirrored_with_their_photos(model, record, batch_of):
  batch = batch_of(record)
  once = mirror.with_mirrored(batch, None, model.template)
  assert once.guide.vertices.shape[0] == 2 * COUNT
  half = jax.tree.map(lambda a: a[1::2], once)
  twice = jax.tree.map(
    lambda a: a[1::2], mirror.with_mirrored(half, None, model.template)
  )
  for a, b in zip(
    jax.tree.leaves(batch.guide), jax.tree.leaves(twice.guide), strict=True
  ):
    np.testing.assert_allclose(a, b, atol=1e-5)
  place = lambda g, k: np.asarray(
    world_to_px(head_to_world(g.vertices[k], g.pose[k]), Camera(), 64, 64)
  )
  twin = mirror.mirror_head(
    np.arange(len(model.template.vertices) * 3.0).reshape(-1, 3), model.template
  )
  index = np.rint((twin[:, 1] - 1) / 3).astype(int)
  flipped = place(once.guide, 1)
  np.testing.assert_allclose(
    flipped[:, 0], 63 - place(once.guide, 0)[index, 0], atol=1e-3
  )


def test_numbers_of_a_record_depend_on_its_generator_only():
  one, same, other = (
    with_guide_noise({}, np.random.default_rng(k))[_guides.NOISE] for k in (1, 1, 2)
  )
  np.testing.assert_array_equal(one, same)
  assert (one != other).any()
  assert ((one[-2:] >= 0) & (one[-2:] < 1)).all()
