"""Colors read off a picture whose diffuse map and light are known."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from affjax.faces import FaceColors, read_colors, with_eyes_and_mouth
from affjax.geometry import camera as cameras
from affjax.geometry import mesh, rotation, uv
from affjax.heads import open_head
from affjax.ops import resize_bilinear
from affjax.render import render_head
from affjax.types import Camera

SIZE, CROP = 128, 160
PLAIN = np.array([0.7, 0.55, 0.45], np.float32)
CAMERA = Camera()


def pattern() -> np.ndarray:
  """Skin of its own tone with stripes, not the same on both sides."""
  across = np.linspace(0, 1, SIZE)[None, :]
  down = np.linspace(0, 1, SIZE)[:, None]
  stripes = 1 + 0.12 * np.sin(2 * np.pi * (7 * across**1.3 + 4 * down))
  return (np.array([0.5, 0.42, 0.4]) * stripes[..., None]).astype(np.float32)


def photographed(diffuse, shade=None, yaw=0.0):
  """The picture of the mean head before white, its coverage and its pose.

  `shade` takes world normals and gives the light on them.
  """
  template = open_head("embedded").template
  angles = (jnp.float32(a) for a in (yaw, 4, 3))
  turn = rotation.euler_deg_to_axis_angle(*angles)
  pose = np.r_[np.asarray(turn), 0.02, -0.03, 0.1].astype(np.float32)
  world = cameras.head_to_world(
    jnp.asarray(template.vertices)[None], jnp.asarray(pose)[None]
  )
  texture = np.asarray(diffuse)
  if shade is not None:
    normals = mesh.vertex_normals(world, template.faces)
    table = uv.uv_table(template, SIZE)
    texture = texture * shade(np.asarray(uv.map_from_vertices(normals, table)[0]))
  image, alpha = render_head(
    world, jnp.asarray(texture)[None], template, CAMERA, (CROP, CROP)
  )
  image, alpha = np.asarray(image[0]), np.asarray(alpha[0])
  return np.clip(image + 1 - alpha, 0, 1), alpha, pose


def read(image, alpha, pose, **options):
  template = open_head("embedded").template
  plain = np.broadcast_to(PLAIN, (SIZE, SIZE, 3))
  return read_colors(
    *(image, alpha, template.vertices, pose, template, CAMERA, plain), **options
  )


@pytest.fixture(scope="module")
def unlit():
  return photographed(pattern())


@pytest.fixture(scope="module")
def skin_mask():
  """Plain skin of the face: where tones are compared."""
  masks = open_head("embedded").template.masks
  small = {name: uv.resize_mask(masks[name], SIZE) for name in masks}
  features = small["eyes"] + small["mouth"] + small["lips"] + small["brows"]
  return (small["face"] > 0.9) & (features == 0)


def test_the_texture_comes_back_where_it_is_seen(unlit):
  found = read(*unlit)
  sure = found.seen > 0.8
  assert sure.mean() > 0.2
  error = np.abs(found.diffuse * mean_light(found) - pattern())[sure]
  assert np.median(error) < 0.01
  assert np.mean(error) < 0.02


def mean_light(found) -> np.ndarray:
  """The light on each texel: a picture shows its product with the diffuse map."""
  low = jnp.asarray(found.light)[None]
  return np.asarray(resize_bilinear(low, (SIZE, SIZE)))[0]


def test_what_is_not_seen_has_the_tone_of_the_skin(unlit, skin_mask):
  """The plain face is lighter and redder than this one."""
  found = read(*unlit)
  hidden = (found.seen < 0.05) & uv.uv_table(
    open_head("embedded").template, SIZE
  ).support
  neck = uv.resize_mask(open_head("embedded").template.masks["neck"], SIZE) > 0.9
  chosen = found.diffuse[hidden & neck]
  assert len(chosen) > 50
  true = pattern()[skin_mask].mean(0)
  assert np.abs(chosen.mean(0) - true).max() < 0.5 * np.abs(PLAIN - true).max()


def test_the_other_half_is_mirrored(skin_mask):
  """From the side, the far cheek shows the near one's stripes."""
  found = read(*photographed(pattern(), yaw=40.0))
  mirrored = pattern()[:, ::-1]
  product = found.diffuse * mean_light(found)
  far = (found.seen < 0.05) & (found.seen[:, ::-1] > 0.8) & skin_mask
  assert far.sum() > 100
  error = np.abs(product - mirrored)[far].mean()
  assert error < 0.6 * np.abs(product - pattern())[far].mean()


def test_light_is_taken_off_the_diffuse_map(skin_mask):
  """Lit from one side: the map is more even than the picture."""
  flat = np.broadcast_to(np.float32([0.5, 0.42, 0.4]), (SIZE, SIZE, 3))
  found = read(
    *photographed(flat, lambda n: 0.7 + 0.5 * np.clip(n[..., :1], -0.5, 0.8))
  )
  chosen = (found.seen > 0.8) & skin_mask
  luma = found.diffuse.mean(-1)
  picture = (found.diffuse * mean_light(found)).mean(-1)

  def unevenness(values):
    return values[chosen].std() / values[chosen].mean()

  assert unevenness(picture) > 0.12
  assert unevenness(luma) < 0.4 * unevenness(picture)
  assert found.light.min() >= 0


def test_what_hides_the_face_is_not_painted_on_it(unlit, skin_mask):
  """A green bar, which the skin mask leaves out; without it the cheek turns green."""
  image, alpha, pose = unlit
  image, skin = image.copy(), alpha.copy()
  image[90:110], skin[90:110] = (0, 1, 0), 0

  def green(found):
    return (found.diffuse[..., 1] > found.diffuse[..., 0] + 0.2)[skin_mask].mean()

  assert green(read(image, alpha, pose)) > 0.05
  assert green(read(image, skin, pose)) < 0.005


def test_a_face_of_which_nothing_is_seen_is_the_plain_one(unlit, skin_mask):
  found = read(unlit[0], np.zeros_like(unlit[1]), unlit[2])
  scalp = uv.resize_mask(open_head("embedded").template.masks["scalp"], SIZE)
  chosen = skin_mask & (scalp == 0)
  np.testing.assert_allclose(found.diffuse[chosen] / PLAIN, 1, atol=0.02)
  np.testing.assert_array_equal(found.light, 1)


HAIR = np.array([0.25, 0.12, 0.06], np.float32)
MOLE = np.array([0.2, 0.1, 0.08], np.float32)
RED = np.array([0.75, 0.2, 0.25], np.float32)


def small_mask(name: str) -> np.ndarray:
  return uv.resize_mask(open_head("embedded").template.masks[name], SIZE)


def texels_like(found, color) -> np.ndarray:
  """Where the map times the light has about this color."""
  return np.abs(found.diffuse * mean_light(found) - color).max(-1) < 0.12


def test_a_fringe_leaves_no_hair_on_the_skin(unlit, skin_mask):
  """The skin mask is blurred: some of the fringe's edge counts as skin."""
  image, alpha, pose = (np.array(x) for x in unlit)
  image[40:72, 40:120], alpha[40:72, 40:120] = HAIR, 0
  image[72:78, 40:120:6], alpha[72:78, 40:120:6] = HAIR, 0
  blurred = ndimage.gaussian_filter(alpha, (2, 2, 0))
  found = read(image, blurred, pose)
  assert texels_like(found, HAIR)[skin_mask].mean() < 0.002
  hidden = (found.seen < 0.05) & skin_mask
  true = pattern()[skin_mask].mean(0)
  tone = (found.diffuse * mean_light(found))[hidden].mean(0)
  np.testing.assert_allclose(tone, true, atol=0.06)


@pytest.mark.parametrize("scalp", ["skin", "photo"])
def test_nothing_beyond_the_border_is_painted(unlit, scalp):
  """Repeated border pixels are green, and the skin mask takes them for skin."""
  image, alpha, pose = (np.array(x) for x in unlit)
  inside = np.ones_like(alpha)
  image[:60], inside[:60] = (0, 1, 0), 0
  support = uv.uv_table(open_head("embedded").template, SIZE).support

  def green(found):
    return (found.diffuse[..., 1] > found.diffuse[..., 0] + 0.05)[support].mean()

  if scalp == "photo":
    assert green(read(image, alpha, pose, scalp=scalp)) > 0.02
  assert green(read(image, alpha, pose, scalp=scalp, inside=inside)) == 0


def test_a_turned_head_has_no_streaks():
  """White background runs onto the head: the skin mask is too wide by 3 px."""
  image, alpha, pose = photographed(pattern(), yaw=50.0)
  wide = ndimage.maximum_filter(alpha, (7, 7, 1))
  found = read(image, wide, pose)
  skin = (small_mask("skin") > 0.9) & (small_mask("ears") == 0)
  product = found.diffuse * mean_light(found)
  assert product[skin].max() < 1.35 * pattern().max()
  assert product[skin].min() > 0.5 * pattern().min()


def test_the_scalp_shows_what_is_asked():
  scalp = small_mask("scalp")
  diffuse = np.where(scalp[..., None] > 0.5, HAIR, pattern())
  image, alpha, pose = photographed(diffuse)
  hair = np.abs(image - HAIR).max(-1, keepdims=True) < 0.15
  skin = alpha * ~hair
  painted = {how: read(image, skin, pose, scalp=how) for how in ("skin", "photo")}
  assert texels_like(painted["photo"], HAIR)[scalp > 0.99].mean() > 0.9
  assert texels_like(painted["skin"], HAIR)[scalp > 0.99].mean() < 0.01
  gray = read(image, skin, pose, scalp="none")
  np.testing.assert_allclose(gray.diffuse[scalp == 1], 0.5, atol=1e-6)
  bare = scalp == 0
  np.testing.assert_allclose(gray.diffuse[bare], painted["skin"].diffuse[bare])


def test_unseen_eyes_and_teeth_have_the_exposure_of_the_photo(unlit):
  image, alpha, pose = unlit
  inner = (small_mask("mouth") == 1) | (small_mask("eyes") == 1)
  for exposure in (1.0, 0.3):
    found = read(image * exposure, alpha, pose)
    hidden = inner & (found.seen < 0.05)
    level = np.median(found.diffuse[hidden] / PLAIN)
    assert abs(level / (exposure * np.median(pattern() / PLAIN)) - 1) < 0.3


def test_make_up_and_moles_below_a_fringe_stay():
  """A dark mole and a red cheek, each below the outer corner of an eye."""
  template = open_head("embedded").template
  table = uv.uv_table(template, SIZE)
  place = np.asarray(uv.map_from_vertices(template.vertices, table))
  corners = template.landmark_positions(template.vertices)[[36, 45]]
  diffuse, spots = pattern(), []
  for corner, color in zip(corners, (MOLE, RED), strict=True):
    away = np.linalg.norm(place - corner - np.array([0, -0.3, 0]), axis=-1)
    spots.append(away < 0.2)
    diffuse = np.where(spots[-1][..., None], color, diffuse)
  image, alpha, pose = (np.array(x) for x in photographed(diffuse))
  image[40:66, 40:120], alpha[40:66, 40:120] = HAIR, 0
  found = read(image, alpha, pose)
  product = found.diffuse * mean_light(found)
  for spot in spots:
    assert spot.sum() > 15
    assert (found.seen > 0.9)[spot].mean() > 0.5
    assert np.abs(product - diffuse)[spot & (found.seen > 0.9)].mean() < 0.06


def test_the_mouth_is_read_only_where_it_is_open(unlit):
  """Stripes over everything: a mouth keeps its own color unless the lips part."""
  image, alpha, pose = unlit
  model = open_head("embedded")
  template = model.template
  mask = uv.resize_mask(template.masks["mouth"], SIZE)
  mouth = mask > 0.999
  person = np.zeros(len(model.identity_std), np.float32)
  unit = np.zeros(len(model.expression_names), np.float32)
  maps = []
  for wide in (0.0, 0.7):
    unit[model.expression_names.index("jawOpen")] = wide
    vertices = model.vertices(person, unit)
    plain = np.broadcast_to(PLAIN, (SIZE, SIZE, 3))
    maps.append(read_colors(image, alpha, vertices, pose, template, CAMERA, plain))
  shut, opened = maps
  assert not shut.seen[mouth].any()
  assert np.ptp(shut.diffuse[mouth], axis=0).max() < 1e-3
  assert (opened.seen * (mask > 0.5) > 0.5).sum() > 10


def test_eyes_and_mouth_of_a_photo_are_laid_into_another_map():
  template = open_head("embedded").template
  masks = {
    name: uv.resize_mask(template.masks[name], SIZE) for name in ("eyes", "mouth")
  }
  inner = masks["eyes"] + masks["mouth"] > 0.99
  outside = masks["eyes"] + masks["mouth"] == 0
  full = lambda value, size, channels: np.full(
    (size, size, channels), value, np.float32
  )
  colors = FaceColors(full(0.4, SIZE, 3), full(0.9, 16, 1), np.ones((SIZE, SIZE)))
  light = full(0.6, 8, 3) * np.array([1.0, 2.0, 0.5])
  found = with_eyes_and_mouth(full(0.3, SIZE, 3), light, colors, template)
  # 0.4 * 0.9 is seen; it is divided by the other light, which is never below 0.35.
  expected = 0.36 / np.array([0.6, 1.2, 0.35])
  np.testing.assert_allclose(
    found[inner], np.tile(np.clip(expected, 0, 1), (inner.sum(), 1)), rtol=1e-5
  )
  np.testing.assert_array_equal(found[outside], np.float32(0.3))
