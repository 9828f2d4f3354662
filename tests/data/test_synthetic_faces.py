import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from affjax.data import SyntheticFaces
from affjax.data._synthetic import sampling
from affjax.geometry import uv
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.render import render_head, shade
from affjax.types import Camera

SIZE = 64


@pytest.fixture(scope="module")
def faces(head):
  return SyntheticFaces(head, 40, SIZE)


@pytest.fixture(scope="module")
def exact(faces):
  return [faces.exact(i) for i in range(6)]


def test_a_record_has_the_fields_of_the_contract(faces, head):
  record = faces[3]
  vertices = head.template.vertices.shape
  expected = {
    "image": ((SIZE, SIZE, 3), np.uint8),
    "visible": ((SIZE, SIZE, 1), np.uint8),
    "vertices": (vertices, np.float32),
    "pose": ((6,), np.float32),
    "diffuse": ((SIZE, SIZE, 3), np.uint8),
    "light": ((SIZE // 8, SIZE // 8, 1), np.float32),
    "light_color": ((3,), np.float32),
    "has_pose": ((), np.float32),
    "has_diffuse": ((), np.float32),
  }
  assert {k: (v.shape, v.dtype) for k, v in record.items()} == expected
  assert record["has_pose"] == record["has_diffuse"] == 1
  assert record["image"].std() > 10
  assert all(np.isfinite(value).all() for value in record.values())


def test_the_same_index_is_the_same_face_in_any_order(faces, head):
  again = SyntheticFaces(head, 1000, SIZE)
  again[17]
  for name, value in faces[5].items():
    np.testing.assert_array_equal(again[5][name], value)
  assert np.any(faces[6]["image"] != faces[5]["image"])


def test_splits_and_seeds_share_nothing(head):
  draws = [
    SyntheticFaces(head, 30, SIZE, seed=seed, split=split).parameters(i)
    for seed in (0, 1)
    for split in ("train", "test")
    for i in range(30)
  ]
  identities = np.stack([drawn.identity for drawn in draws])
  assert len(np.unique(identities.round(5), axis=0)) == len(draws)


def test_poses_cover_the_range_and_stay_in_it(head):
  source = SyntheticFaces(head, 400, SIZE)
  angles = np.stack([source.parameters(i).angles_deg for i in range(400)])
  assert (np.abs(angles) <= [60, 25, 20]).all()
  assert (np.abs(angles).max(0) > [50, 18, 14]).all()


def test_bad_arguments_are_named(faces, head, tmp_path):
  with pytest.raises(IndexError, match="index 40 is out of range for 40"):
    faces[40]
  assert np.array_equal(faces[-1]["pose"], faces[39]["pose"])
  for wrong, message in (
    ({"count": -1}, "count must not be negative, got -1"),
    ({"size": 4}, "size must be at least 8"),
    ({"map_size": 60}, "map_size must be a positive multiple of 8, got 60"),
    ({"split": "dev"}, "split must be one of"),
    ({"occluders": 1.5}, "occluders must lie in"),
    ({"backgrounds": tmp_path}, "holds no images"),
    ({"backgrounds": tmp_path / "none"}, "must be a folder"),
  ):
    with pytest.raises(ValueError, match=message):
      SyntheticFaces(head, **{"count": 4, "size": SIZE, **wrong})


def test_a_perfect_prediction_renders_to_the_image(exact, head):
  @jax.jit
  def predicted(diffuse, light, color, vertices, pose):
    shaded = shade(diffuse[None], light[None], color[None])
    world = head_to_world(jnp.asarray(vertices)[None], jnp.asarray(pose)[None])
    return render_head(world, shaded, head.template, Camera(), (SIZE, SIZE))

  for sample in exact:
    maps = ("diffuse", "light", "light_color", "vertices", "pose")
    render, alpha = predicted(*(sample[name] for name in maps))
    np.testing.assert_allclose(render[0], sample["head"], atol=2e-5)
    np.testing.assert_allclose(alpha[0], sample["alpha"], atol=2e-5)
    # Its visible pixels are the render plus a highlight, which only adds light.
    free = sample["visible"][..., 0] > 0.999
    above = (sample["clean"] - sample["head"])[free]
    assert above.min() > -2e-3
    assert np.median(above) < 0.12


def test_maps_agree_with_each_other(exact, head):
  table = uv.uv_table(head.template, SIZE)
  for sample in exact:
    read = uv.vertices_from_map(jnp.asarray(sample["position"]), table)
    assert np.abs(read - sample["vertices"]).mean() < 0.02
    assert (sample["visible"] <= sample["alpha"] + 1e-6).all()
    inside = sample["mask"][..., 0]
    assert 0.1 < inside.mean() < 0.98
    length = np.linalg.norm(sample["normal"][inside], axis=-1)
    np.testing.assert_allclose(length, 1, atol=1e-3)
    assert (sample["depth"][inside] > 7).all()
    assert (sample["depth"][inside] < 13).all()
    assert (sample["depth"][~inside] == 0).all()
    assert 0 <= sample["diffuse"].min() <= sample["diffuse"].max() <= 1
    assert sample["light"].min() > 0
    assert sample["light_color"].max() == pytest.approx(1)


def test_landmarks_fall_where_the_depth_says(exact, head):
  template = head.template
  for sample in exact:
    corners = sample["vertices"][template.faces[template.landmark_faces]]
    points = (corners * template.landmark_weights[..., None]).sum(1)
    nose = head_to_world(jnp.asarray(points[30:31]), jnp.asarray(sample["pose"]))
    x, y = np.asarray(world_to_px(nose, Camera(), SIZE, SIZE))[0]
    if 0 <= x < SIZE and 0 <= y < SIZE:
      found = sample["depth"][round(float(y)), round(float(x)), 0]
      assert found == pytest.approx(10 - float(nose[0, 2]), abs=0.25)


def test_faces_differ_in_color(head, exact):
  skin = uv.resize_mask(head.template.masks["face"], SIZE) > 0.9
  means = np.stack([sample["diffuse"][skin].mean(0) for sample in exact])
  assert np.ptp(means.mean(1)) > 0.15
  assert (means[:, 0] > means[:, 2]).all()


def test_occluders_hide_only_what_they_cover(head):
  never = SyntheticFaces(head, 12, SIZE, occluders=0)
  always = SyntheticFaces(head, 12, SIZE, occluders=1)
  share = lambda source: np.mean(
    [source[i]["visible"].mean() / 255 for i in range(len(source))]
  )
  assert share(always) < share(never)
  for name in ("glasses", "mask", "hand", "stick", "patch"):
    presence = [getattr(never.parameters(i).occluders, name)[0] for i in range(12)]
    assert not any(presence)


def test_backgrounds_come_from_the_folder(head, tmp_path):
  Image.new("RGB", (90, 60), (0, 255, 0)).save(tmp_path / "green.png")
  source = SyntheticFaces(head, 12, SIZE, backgrounds=tmp_path)
  assert source.settings()["backgrounds"] == ["green.png"]
  green = 0
  for i in range(12):
    image = source[i]["image"].astype(int)
    green += (image[..., 1] > image[..., 0] + 100).mean() > 0.02
  assert 2 <= green <= 10
  (tmp_path / "green.png").write_bytes(b"nothing")
  with pytest.raises(ValueError, match=r"cannot read background 'green.png'"):
    [source[i] for i in range(12)]


def test_settings_tell_sources_apart(head):
  plain = SyntheticFaces(head, 4, SIZE).settings()
  assert plain == SyntheticFaces(head, 4, SIZE).settings()
  for other in ({"seed": 1}, {"split": "test"}, {"occluders": 0.1}, {"map_size": 32}):
    assert SyntheticFaces(head, 4, SIZE, **other).settings() != plain


def test_parameters_are_plain_float32_and_seeds(head):
  drawn = sampling.scene(sampling.generator(0, "train", 0), head)
  kinds = {leaf.dtype for leaf in jax.tree.leaves(drawn)}
  assert kinds == {np.dtype(np.float32), np.dtype(np.uint32)}


@pytest.mark.slow
def test_the_same_face_at_another_resolution(head):
  small = SyntheticFaces(head, 4, SIZE).exact(2)
  large = SyntheticFaces(head, 4, 4 * SIZE).exact(2)
  shrunk = large["diffuse"].reshape(SIZE, 4, SIZE, 4, 3).mean((1, 3))
  assert np.abs(shrunk - small["diffuse"]).mean() < 0.03
  shrunk = large["clean"].reshape(SIZE, 4, SIZE, 4, 3).mean((1, 3))
  assert np.abs(shrunk - small["clean"]).mean() < 0.04
