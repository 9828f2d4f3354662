"""The embedded head satisfies the conventions."""

import numpy as np
import pytest

from affjax.geometry import mesh, uv
from affjax.heads import landmarks, open_head


@pytest.fixture(scope="module")
def model():
  return open_head("embedded")


@pytest.fixture(scope="module")
def template(model):
  return model.template


def _uv_corners(template):
  return template.uvs[template.faces_uv].astype(np.float64)


def _cross(p, q):
  return p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]


def _signed_area(corners):
  a, b, c = (corners[:, k] for k in range(3))
  return _cross(b - a, c - a) / 2


def test_load_is_cached(model):
  assert open_head("embedded") is model


def test_content(model, template):
  assert template.group_names == ("skin", "eyes", "teeth")
  assert 4000 < len(template.vertices) < 6500
  assert len(model.expression_names) == 52
  assert {"jawOpen", "mouthSmileLeft", "eyeBlinkRight"} < set(model.expression_names)
  assert set(template.masks) == {
    "skin", "face", "brows", "eyes", "lips", "mouth", "ears", "scalp", "neck"
  }  # fmt: skip
  for mask in template.masks.values():
    assert mask.shape == (512, 512)
    assert mask.dtype == np.float32
    assert 0 <= mask.min() <= mask.max() <= 1
  assert (np.diff(model.identity_std) <= 1e-9).all()


def test_every_vertex_is_used(template):
  np.testing.assert_array_equal(
    np.unique(template.faces), np.arange(len(template.vertices))
  )
  np.testing.assert_array_equal(
    np.unique(template.faces_uv), np.arange(len(template.uvs))
  )


def test_conventions(template):
  corner = template.landmark_positions(template.vertices)
  assert landmarks.outer_eye_distance(template) == pytest.approx(0.9, abs=1e-4)
  left, right = (np.asarray(corner[k]) for k in landmarks.OUTER_EYE_CORNERS)
  # The figure's right eye is at the left of the image; the origin lies behind the eyes.
  assert left[0] < 0 < right[0]
  np.testing.assert_allclose((left + right) / 2, [0, 0, 0.55], atol=1e-3)
  assert corner[8, 1] < corner[27, 1]


def test_faces_look_outwards(template):
  """The enclosed volume of each group is positive."""
  for group in range(3):
    faces = template.faces[template.face_groups == group]
    p = template.vertices[faces] - template.vertices[faces].mean((0, 1))
    assert np.einsum("ti,ti->t", p[:, 0], np.cross(p[:, 1], p[:, 2])).sum() > 0


def test_skin_is_closed_but_for_the_neck(template):
  skin = template.faces[template.face_groups == 0]
  opposite = mesh.opposite_vertices(skin)
  triangle, corner = np.nonzero(opposite < 0)
  ends = skin[triangle[:, None], np.stack([corner + 1, corner + 2], -1) % 3]
  height = template.vertices[ends.reshape(-1), 1]
  assert 20 < len(ends) < 120
  assert height.max() < -1.2


def test_layout_is_mirror_symmetric_to_the_bit(template):
  places = {tuple(p) for p in template.uvs.tolist()}
  for u, v in template.uvs:
    assert (float(np.float32(1) - u), float(v)) in places


def test_layout_has_no_flip_and_no_overlap(template):
  assert (_signed_area(_uv_corners(template)) > 0).all()
  assert template.uvs.min() >= 0
  assert template.uvs.max() <= 1
  size = 512
  cover = np.zeros((size, size), np.int64)
  points = uv.uv_to_texel(template.uvs, size)[template.faces_uv].astype(np.float64)
  low = np.ceil(points.min(1)).astype(int)
  high = np.floor(points.max(1)).astype(int)
  for corner, a, b in zip(points, low, high, strict=True):
    x, y = np.meshgrid(np.arange(a[0], b[0] + 1), np.arange(a[1], b[1] + 1))
    grid = np.stack([x, y], -1)
    # Strictly inside all three edges; rows run down, hence the sign.
    sides = [_cross(corner[k - 2] - corner[k], grid - corner[k]) for k in range(3)]
    cover[y, x] += (np.stack(sides) < -1e-9).all(0)
  assert cover.max() == 1


def test_the_face_is_large_and_upright(template):
  face = template.masks["face"]
  assert face.mean() > 0.48
  columns = np.nonzero(face > 0.5)[1]
  assert abs(columns.mean() - 255.5) < 0.5
  np.testing.assert_allclose(face, face[:, ::-1], atol=0.05)
  u = template.uvs[template.faces_uv[template.landmark_faces]]
  u = (u * template.landmark_weights[..., None]).sum(1)
  assert u[27, 1] > u[30, 1] > u[51, 1] > u[57, 1] > u[8, 1]
  assert u[36, 0] < 0.5 < u[45, 0]


def test_landmarks_are_mirror_images(template):
  points = np.asarray(template.landmark_positions(template.vertices))
  np.testing.assert_allclose(points[landmarks.MIRRORED] * [-1, 1, 1], points, atol=2e-3)
