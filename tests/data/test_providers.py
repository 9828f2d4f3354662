"""Tests of the providers of geometry, which share one interface."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from affjax.data._providers.deep3d import Deep3DProvider
from affjax.data._providers.fit import FitProvider
from affjax.data._providers.interface import Geometry, Refusal, require_head
from affjax.data._providers.pose import quality_of_error
from affjax.data._providers.precomputed import PrecomputedProvider
from affjax.data._providers.synthetic import RecentRecords, SyntheticProvider
from affjax.faces import Crop, Face, Fit
from affjax.geometry import uv
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.heads import open_head
from affjax.types import Camera

SIZE = 128
POSE = np.array([0.1, -0.2, 0.05, 0.02, -0.03, 0.1], np.float32)


def _fit(pose, vertices, inner_error):
  """Returns a fit with a given error."""
  return Fit(
    pose=pose,
    identity=np.zeros(1, np.float32),
    expression=np.zeros(1, np.float32),
    fov_deg=Camera().fov_deg,
    vertices=vertices,
    landmarks=np.zeros((68, 2), np.float32),
    inner_error=inner_error,
    contour_error=0.0,
    converged=True,
  )


@pytest.fixture(scope="module")
def head():
  return open_head("embedded")


@pytest.fixture(scope="module")
def seen(head):
  """Returns arguments of a provider: a photo of the mean head in a known pose."""
  points = head.template.landmark_positions(jnp.asarray(head.template.vertices))
  world = head_to_world(points, jnp.asarray(POSE))
  px = np.asarray(world_to_px(world, Camera(), SIZE, SIZE))
  face = Face(np.zeros(4), 1.0, np.zeros((468, 3)), px)
  image = np.zeros((1, SIZE, SIZE, 3), np.uint8)
  return image, [face], [Crop(np.eye(2, 3), SIZE)], ["d/a.jpg#face 1"]


def _named(seen, name):
  return (*seen[:3], [name])


def test_embedded_gives_the_fits_and_refuses_bad_ones(head, seen):
  mean = head.template.vertices
  answers = [
    _fit(POSE, mean, 1.0),
    _fit(POSE, mean, 20.0),
    _fit(POSE * np.nan, mean, 1.0),
    _fit(POSE, mean * 9, 1.0),
  ]
  asked = []

  def fit(*arguments):
    asked.append(arguments)
    return answers

  provider = FitProvider(head, Camera(), fit)
  good, bad, broken, giant = provider(*seen)
  assert asked[0][:3] == (head, seen[1], seen[2])
  assert asked[0][3] is seen[0]
  assert asked[0][4] == Camera()
  assert isinstance(good, Geometry)
  assert good.quality == 1
  np.testing.assert_array_equal(good.vertices, mean)
  assert [type(a) for a in (bad, broken, giant)] == [Refusal] * 3
  assert "20.0 % is above 8 %" in bad.reason
  assert "NaN" in broken.reason
  assert "decimeters" in giant.reason


def test_quality_falls_with_the_error():
  values = [quality_of_error(e) for e in (0, 1, 2, 5, 8, 50)]
  assert values == sorted(values, reverse=True)
  assert (values[0], values[-1]) == (1, pytest.approx(0.1))


def test_synthetic_gives_what_the_photo_was_painted_from(head):
  class Source(RecentRecords):
    def __init__(self):
      self.model = head

    def __getitem__(self, index):
      return {
        "vertices": head.template.vertices + index,
        "pose": POSE,
        "visible": np.ones((8, 8, 1), np.uint8),
        "diffuse": np.ones((8, 8, 3), np.uint8),
      }

  (geometry,) = SyntheticProvider(Source())(
    np.zeros((1, 8, 8, 3), np.uint8), [], [], ["0000002#face 1"]
  )
  np.testing.assert_array_equal(geometry.vertices, head.template.vertices + 2)
  assert geometry.quality == 1
  assert geometry.visible.shape == (8, 8, 1)


def _files(folder, head, name, kind):
  """Writes the mean head as a file of another program."""
  place = folder / "d" / f"{name}.suffix"
  place.parent.mkdir(exist_ok=True)
  vertices = head.template.vertices
  position = np.asarray(
    uv.map_from_vertices(jnp.asarray(vertices), uv.uv_table(head.template, 256))
  )
  if kind == "vertices":
    np.savez(place.with_suffix(".npz"), vertices=vertices, pose=2 * POSE)
  elif kind == "position":
    np.save(place.with_suffix(".npy"), position)
  elif kind == "png":
    from tests.data import test_preparation_parts

    steps = np.rint(position * 1e4 + 32768).astype(np.uint16)
    content = test_preparation_parts.png16_bytes(steps)
    place.with_suffix(".png").write_bytes(content)
  else:
    rows = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices]
    faces = " ".join(f"{k + 1}/1" for k in head.template.faces[0])
    text = "\n".join([*rows, "vt 0 0", f"f {faces}"])
    place.with_suffix(".obj").write_text(text)


@pytest.mark.parametrize(
  ("kind", "exact"),
  [("vertices", 1e-6), ("obj", 1e-4), ("position", 2e-2), ("png", 2e-2)],
)
def test_precomputed_reads_what_other_programs_wrote(tmp_path, head, seen, kind, exact):
  _files(tmp_path, head, "a", kind)
  provider = PrecomputedProvider(tmp_path, head.template, Camera())
  (geometry,) = provider(*seen)
  off = np.abs(geometry.vertices - head.template.vertices)
  assert np.median(off) < exact
  if kind == "vertices":
    np.testing.assert_allclose(geometry.pose, 2 * POSE)
  else:
    np.testing.assert_allclose(geometry.pose, POSE, atol=2e-3)
  assert geometry.error < 0.5


def test_second_faces_have_their_own_files(tmp_path, head, seen):
  _files(tmp_path, head, "a.face2", "obj")
  provider = PrecomputedProvider(tmp_path, head.template, Camera())
  (first,) = provider(*seen)
  assert "no file 'd/a'" in first.reason
  (tmp_path / "d" / "a.face2.obj").rename(tmp_path / "d" / "b.face2.obj")
  (second,) = provider(*_named(seen, "d/b.jpg#face 2"))
  assert isinstance(second, Geometry)


@pytest.mark.parametrize("kind", ["nan", "count", "units", "pickle", "text", "picture"])
def test_unfit_files_are_refused_by_name(tmp_path, head, seen, kind):
  place, vertices = tmp_path / "a.npy", head.template.vertices.copy()
  if kind == "nan":
    vertices[3] = np.nan
  if kind == "picture":
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
  elif kind == "pickle":
    np.save(place, np.array([{}, print], object), allow_pickle=True)
  elif kind == "text":
    place.write_text("hello")
  else:
    change = {"nan": vertices, "count": vertices[1:], "units": vertices * 100}
    np.save(place, change[kind])
  provider = PrecomputedProvider(tmp_path, head.template, Camera())
  (answer,) = provider(*_named(seen, "a.jpg#face 1"))
  assert isinstance(answer, Refusal)
  expected = {
    "nan": "finite",
    "count": "shape",
    "units": "decimeters",
    "picture": "16-bit",
  }
  assert expected.get(kind, "cannot be read") in answer.reason


def test_climbing_names_find_no_file(tmp_path, head, seen):
  provider = PrecomputedProvider(tmp_path, head.template, Camera())
  (answer,) = provider(*_named(seen, "../a.jpg#face 1"))
  assert "leads out" in answer.reason
  with pytest.raises(ValueError, match="geometry must be a folder"):
    PrecomputedProvider(tmp_path / "none", head.template, Camera())


def test_deep3d_places_what_the_network_says(head, seen):
  """The embedded head stands for the BFM, and a constant for the network."""
  calls = []

  def regressor(images):
    calls.append(images.shape)
    identity = np.zeros((len(images), 5), np.float32)
    identity[:, 0] = 1.5
    return identity, np.zeros((len(images), 4), np.float32)

  make = lambda **given: Deep3DProvider(
    head,
    Camera(),
    regressor=regressor,
    alignment=lambda px, mean: np.eye(2, 3) * 1.5,
    **given,
  )
  (geometry,) = make()(*seen)
  assert calls == [(8, 224, 224, 3)]
  expected = head.template.vertices + 1.5 * head.identity_basis[0]
  np.testing.assert_allclose(geometry.vertices, expected, atol=1e-5)
  assert 0 < geometry.error < 5
  moved = make(retarget=lambda v: v[:, ::1] + 0.01, template=head.template)
  np.testing.assert_allclose(moved(*seen)[0].vertices, expected + 0.01, atol=1e-5)
  with pytest.raises(ValueError, match="together"):
    make(template=head.template)


def test_heads_out_of_place_are_refused(head):
  mean = head.template.vertices
  np.testing.assert_array_equal(require_head(mean, head.template), mean)
  for bad in (mean + 3, mean * 0.1, mean.astype(str)):
    with pytest.raises(ValueError, match="vertices must be"):
      require_head(bad, head.template)
