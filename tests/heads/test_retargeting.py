"""Registration of meshes, retargeting of heads, landmarks from some of them."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affjax.geometry import surface
from affjax.heads import (
  MorphableModel,
  Retargeter,
  _matching,
  _registration,
  retarget_model,
  with_landmarks,
)
from affjax.types import Template
from tests.heads import head_files

# Where both balls have the same places: corners of a die, and the poles.
DIE = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 3**0.5
PLACES = np.concatenate([DIE, np.eye(3), -np.eye(3)])


def _shaped(points):
  """A ball with a nose and two ears."""
  out = np.zeros(len(points))
  for place, height, width in (
    ((0, 0, 1), 0.35, 0.3),
    ((1, 0, 0), 0.3, 0.25),
    ((-1, 0, 0), 0.3, 0.25),
  ):
    away = np.linalg.norm(points - place, axis=-1)
    out += height * np.exp(-((away / width) ** 2))
  return points * (1 + out[:, None])


def _ball(count, name="ball", shape=lambda points: points):
  """A ball as a template, with one UV per point."""
  points, faces = head_files.ball(count)
  uvs = np.stack([points[:, 0] / 4 + 0.25 + (points[:, 2] < 0) / 2, points[:, 1]], -1)
  return Template(
    name=name,
    vertices=shape(points).astype(np.float32),
    faces=faces.astype(np.int32),
    uvs=np.clip(uvs * (1, 0.5) + (0, 0.5), 0, 1).astype(np.float32),
    faces_uv=faces.astype(np.int32),
    face_groups=np.zeros(len(faces), np.int32),
    group_names=("skin",),
    masks={},
    landmark_faces=np.zeros(0, np.int32),
    landmark_weights=np.zeros((0, 3), np.float32),
  )


@pytest.fixture(scope="module")
def source():
  return _ball(1500, "source", _shaped)


@pytest.fixture(scope="module")
def target():
  return _ball(1100, "target")


@pytest.fixture(scope="module")
def carry(source, target):
  return Retargeter(source, target, pairs=(_shaped(PLACES), PLACES))


def _apart(points, template):
  """Distance of points from a template's surface."""
  triangle, weights = surface.nearest_points(points, template.vertices, template.faces)
  corner = template.vertices[template.faces[triangle]]
  return np.linalg.norm(np.einsum("pk,pkx->px", weights, corner) - points, axis=-1)


def _stretch(template, vertices):
  side = lambda v: np.linalg.norm(
    v[template.faces] - v[np.roll(template.faces, 1, 1)], axis=-1
  )
  return side(vertices) / side(template.vertices)


class TestRetargeter:
  def test_the_mean_lies_on_the_source_without_folds(self, carry, source, target):
    assert np.median(_apart(carry.mean, source)) < 0.004
    assert np.percentile(_apart(carry.mean, source), 99) < 0.03
    assert carry.carried.mean() > 0.9
    assert not _matching.folded(carry.mean, target.faces).any()
    assert _stretch(target, carry.mean).max() < 3
    assert _stretch(target, carry.mean).min() > 0.3

  def test_heads_of_the_source_are_carried(self, carry, source, target):
    turn = np.array([[1.1, 0.1, 0], [-0.1, 1.2, 0], [0, 0.05, 0.9]])
    head = source.vertices @ turn.T + 0.1
    got = np.asarray(carry(head))
    np.testing.assert_allclose(got, carry.mean @ turn.T + 0.1, atol=2e-3)
    assert not _matching.folded(got, target.faces).any()

  def test_batches_jit_and_gradients(self, carry, source):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.05, (2, 1, 1500, 3)).astype(np.float32)
    heads = source.vertices + noise
    got = carry(heads)
    assert got.shape == (2, 1, 1100, 3)
    np.testing.assert_allclose(jax.jit(carry.__call__)(heads)[1], got[1], atol=1e-6)
    np.testing.assert_allclose(carry(heads[1, 0]), got[1, 0], atol=1e-6)
    slope = jax.grad(lambda x: carry(x).sum())(jnp.asarray(heads[0, 0]))
    # A shift moves every vertex as far.
    np.testing.assert_allclose(slope.sum(0), 1100, rtol=1e-4)

  def test_onto_itself_nothing_moves(self, source):
    pairs = (source.vertices[::100],) * 2
    same = Retargeter(source, source, pairs=pairs)
    np.testing.assert_allclose(same.mean, source.vertices, atol=1e-5)
    head = source.vertices + np.sin(3 * source.vertices)
    np.testing.assert_allclose(same(head), head, atol=1e-5)

  def test_what_is_inside_goes_along(self, source):
    shell, core = _ball(900, "target"), head_files.ball(60, radius=0.5)
    both = dataclasses.replace(
      shell,
      vertices=np.concatenate([shell.vertices, core[0]]).astype(np.float32),
      faces=np.concatenate([shell.faces, core[1] + 900]).astype(np.int32),
      faces_uv=np.concatenate([shell.faces, core[1]]).astype(np.int32),
      face_groups=np.zeros(len(shell.faces) + len(core[1]), np.int32),
    )
    carry = Retargeter(source, both, pairs=(_shaped(PLACES), PLACES))
    assert carry.carried[:900].mean() > 0.9
    assert not carry.carried[900:].any()
    assert np.linalg.norm(carry.mean[900:] - core[0], axis=-1).max() < 0.25
    moved = carry(source.vertices + np.array([0, 0.2, 0], np.float32))
    np.testing.assert_allclose(
      moved - carry.mean, np.tile([0, 0.2, 0], (960, 1)), atol=1e-3
    )

  def test_bad_input_is_named(self, carry, source, target):
    heads = source.vertices
    with pytest.raises(ValueError, match=r"'source' must have shape \[\*, 1500, 3\]"):
      carry(heads[1:])
    with pytest.raises(ValueError, match="must be finite"):
      carry(np.where(np.arange(1500)[:, None] == 3, np.nan, heads))

    def refused(message, *, source=source, target=target, **options):
      with pytest.raises(ValueError, match=message):
        Retargeter(source, target, **options)

    refused("source 'source' has no 68 landmarks: add them with")
    nan = target.vertices.copy()
    nan[5, 1] = np.nan
    refused("has 1 vertices that are not finite", target=_with(target, vertices=nan))
    refused("needs triangles and UVs", target=_bare(target))
    crowded = np.concatenate([target.faces, target.faces[:1, ::-1], target.faces[:1]])
    refused("is not a manifold", target=_with(
      target, faces=crowded, faces_uv=crowded, face_groups=np.zeros(len(crowded), int),
    ))  # fmt: skip
    pairs = (_shaped(PLACES), PLACES)
    refused("pairs must be two arrays", pairs=(PLACES[1:], PLACES))
    refused("pairs must be finite", pairs=(PLACES * np.nan, PLACES))
    refused("four or more, not in one plane", pairs=(PLACES[:3], PLACES[:3]))
    refused("groups: 'hat'", pairs=pairs, groups={"hat": "skin"})
    far = (_shaped(PLACES) + 50, PLACES)
    refused("no vertex of 'target' came to lie on 'source'", pairs=far)


def _bare(template):
  """The template without UVs."""
  none = np.zeros((0, 3), np.int32)
  return _with(
    template, uvs=np.zeros((0, 2), np.float32), faces=none, faces_uv=none,
    face_groups=none[:, 0],
  )  # fmt: skip


def _with(template, **changes):
  return dataclasses.replace(template, **changes)


def test_a_whole_model_is_carried(source, target):
  rng = np.random.default_rng(0)
  basis = np.einsum("kxy,vy->kvx", rng.normal(size=(2, 3, 3)) / 10, source.vertices)
  model = MorphableModel(
    template=source,
    identity_basis=basis.astype(np.float32),
    identity_std=np.ones(2, np.float32),
    expression_basis=basis[:1].astype(np.float32),
    expression_names=("joy",),
  )
  got = retarget_model(model, target, pairs=(_shaped(PLACES), PLACES))
  assert got.identity_basis.shape == (2, 1100, 3)
  assert got.expression_names == ("joy",)
  assert got.template.name == "target"
  slopes = [np.linalg.lstsq(source.vertices, b, rcond=None)[0] for b in basis]
  want = [got.template.vertices @ slope for slope in slopes]
  np.testing.assert_allclose(got.identity_basis, want, atol=3e-3)
  rms = np.sqrt((got.identity_basis**2).sum(-1).mean(-1))
  np.testing.assert_allclose(got.identity_std, rms, rtol=1e-5)


class TestWarp:
  def test_goals_are_met_and_a_similarity_is_exact_everywhere(self):
    rng = np.random.default_rng(0)
    where = rng.normal(size=(50, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= 1.3 * np.sign(np.linalg.det(turn))
    goals = PLACES @ turn.T + (1, 2, 3)
    slack = np.full(len(PLACES), 1e-3)
    got = _registration.radial_warp(PLACES, goals, slack, where)
    np.testing.assert_allclose(got, where @ turn.T + (1, 2, 3), atol=1e-9)
    goals = goals + 0.1 * rng.normal(size=goals.shape)
    got = _registration.radial_warp(PLACES, goals, slack * 0, PLACES)
    np.testing.assert_allclose(got, goals, atol=1e-9)

  def test_slack_lets_a_goal_go_and_does_not_overshoot(self):
    goals = PLACES.copy()
    goals[0] += (0, 0.2, 0)
    off = []
    for loose in (1e-3, 0.1, 3.0):
      slack = np.full(len(PLACES), 1e-3)
      slack[0] = loose
      got = _registration.radial_warp(PLACES, goals, slack, PLACES[:1])[0]
      off.append(goals[0, 1] - got[1])
    assert 0 <= off[0] < 2e-3 < off[1] < off[2] < 0.21


class TestMatching:
  def test_two_sheets_match_by_direction(self):
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1).reshape(-1, 2) / 8
    flat = np.concatenate([grid, np.zeros((64, 1))], 1)
    at = np.arange(56).reshape(7, 8)[:, :7].ravel()
    up = (
      (at + np.array([[0, 1, 8], [1, 9, 8]])[..., None]).swapaxes(1, 2).reshape(-1, 3)
    )
    here = _matching.Surface(flat, up)
    # The nearer sheet faces away.
    points = np.concatenate([np.add(flat, (0, 0, 0.05)), np.add(flat, (0, 0, 0.1))])
    assert here.face_normals[0, 2] == 1
    there = _matching.Surface(points, np.concatenate([up[:, ::-1], up + 64]))
    match = _matching.matches(here, there, 0.2, 0.3)
    inner = ~here.border[here.used]
    assert match.near[inner].all()
    assert (match.triangle[inner] >= len(up)).all()
    assert not _matching.matches(here, there, 0.08, 0.3).near.any()

  def test_seen_and_folded(self):
    points, faces = head_files.ball(400)
    both = np.concatenate([points, points / 2])
    seen = _matching.seen(both, np.concatenate([faces, faces + 400]))
    assert seen[:400].all()
    assert not seen[400:].any()
    assert not _matching.folded(points, faces).any()
    pushed = points.copy()
    pushed[7] = points[faces[faces[:, 0] == 7][0, 1]] * 1.5 - points[7] * 0.5
    assert _matching.folded(pushed, faces).any()


class TestLandmarkSets:
  def test_the_ways_to_give_them(self, target, tmp_path):
    vertices = list(range(0, 680, 10))
    at = target.vertices[vertices]
    path = tmp_path / "landmarks.json"
    path.write_text(json.dumps({"vertices": vertices}))
    triangle, weights = surface.nearest_points(at, target.vertices, target.faces)
    faces: dict = {"faces": triangle, "weights": weights}
    places: dict = {"points": at.tolist()}
    for given in (path, places, faces):
      got = with_landmarks(target, given)
      corner = got.vertices[got.faces[got.landmark_faces]]
      points = np.einsum("lk,lkx->lx", got.landmark_weights, corner)
      np.testing.assert_allclose(points, at, atol=1e-5)

  @pytest.mark.parametrize(
    ("given", "message"),
    [
      ({}, "landmarks need one of"),
      ([1], "landmarks need one of"),
      ({"vertices": [1, 2]}, r"need 68 vertices, got shape \(2,\)"),
      ({"vertices": [1100] * 68}, r"whole numbers in \[0, 1100\)"),
      ({"vertices": [0.5] * 68}, "whole numbers"),
      ({"faces": [0] * 68}, "must be finite"),
      ({"points": [[0, 0, float("nan")]] * 68}, "must be finite"),
      ({"some": {"36": 4}}, "at least 8 are needed, got 1"),
      ({"some": {"68": 4}}, r"\{68: 4\}"),
      ({"some": {"36": -1}}, r"\{36: -1\}"),
    ],
  )
  def test_bad_ones_are_named(self, target, given, message):
    with pytest.raises(ValueError, match=message):
      with_landmarks(target, given)
