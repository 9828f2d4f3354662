"""The table of measures: what `affjax evaluate` and training report of heads.

A new measure is a function of `Cases` and a row of `MEASURES`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from affjax.eval import _cases, _geometry, _identity, _image
from affjax.eval._alignment import align
from affjax.eval._cases import Cases
from affjax.eval._depth import depth_errors
from affjax.eval._perceptual import perceptual_distance
from affjax.eval._scan import scan_distances
from affjax.geometry import uv
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.ops import resize_bilinear
from affjax.render import render_head, shade
from affjax.types import Camera, Template

# Values of each head by part: "" is the whole, the others are regions.
Values = Mapping[str, Float[np.ndarray, " n"]]
# Side of the depth maps of SIDE and MAD: normals of other sizes cannot be compared.
_DEPTH_SIZE = 64
_RENDER_SIZE = 256
# Side of the renders whose perceptual distance is taken: VGG takes most of the time.
_PERCEPTUAL_SIZE = 128
# Background of the renders that the face encoder sees.
_GRAY = 0.5
_OUTER_EYES = (36, 45)


@dataclasses.dataclass(frozen=True)
class Measure:
  """A row of the tables.

  Attributes:
    name: Name of the measure, unique.
    unit: Unit; empty for numbers without any.
    values: Function from cases to one number a head, by part; NaN where nothing of a
      head can be measured.
    truth: Fields of `Truths` that must not be None.
    heads: Fields of `Heads` that must not be None.
    higher: Whether higher values are better.
  """

  name: str
  unit: str
  values: Callable[[Cases], Values]
  truth: tuple[str, ...] = ()
  heads: tuple[str, ...] = ()
  higher: bool = False

  def applies(self, cases: Cases) -> bool:
    """Returns whether the cases have all that the measure needs."""
    has = lambda whole, names: all(getattr(whole, n) is not None for n in names)
    return has(cases.truths, self.truth) and has(cases.heads, self.heads)


def measured(cases: Cases, names: tuple[str, ...] = ()) -> dict[str, dict[str, object]]:
  """Returns the values of all measures that apply, by name and part.

  Args:
    cases: Heads and their truth.
    names: Measures to take; all of `MEASURES` if empty.

  Raises:
    ValueError: A name is unknown.
  """
  known = {measure.name: measure for measure in MEASURES}
  unknown = [name for name in names if name not in known]
  if unknown:
    raise ValueError(
      f"measure must be one of {', '.join(known)}, got {', '.join(unknown)}"
    )
  chosen = [known[name] for name in names] if names else MEASURES
  return {
    measure.name: dict(measure.values(cases))
    for measure in chosen
    if measure.applies(cases)
  }


def _positions(cases: Cases, alignment: str) -> Values:
  """Mean absolute difference of a coordinate, dm, by region."""
  moved = cases.aligned_texels(alignment)
  apart = np.abs(moved - cases.true_texels.reshape(moved.shape)).mean(-1)
  return _by_region(apart, cases)


def _distances(cases: Cases, alignment: str) -> Values:
  """Mean distance of corresponding points, mm, by region."""
  moved = cases.aligned_texels(alignment)
  apart = np.linalg.norm(moved - cases.true_texels.reshape(moved.shape), axis=-1)
  return _by_region(100 * apart, cases)


def _distances_percent(cases: Cases) -> Values:
  """The same after a similarity, percent of the distance of the outer eye corners."""
  marks = cases.template.landmark_positions(cases.truths.vertices)
  eyes = np.linalg.norm(marks[:, _OUTER_EYES[0]] - marks[:, _OUTER_EYES[1]], axis=-1)
  return {
    part: values / eyes for part, values in _distances(cases, "similarity").items()
  }


def _by_region(values: Float[np.ndarray, "n p"], cases: Cases) -> Values:
  parts = {"" if part == "face" else part: w for part, w in cases.regions.items()}
  return {part: values @ w.ravel() / w.sum() for part, w in parts.items()}


def _scans(cases: Cases) -> Values:
  """Mean distance of scan points from the surface after a similarity ICP, mm."""
  template, truths = cases.template, cases.truths
  skin = template.faces[template.face_groups == template.group_names.index("skin")]
  assert truths.scans is not None
  values = []
  for points, true, head in zip(
    truths.scans, truths.vertices, cases.heads.vertices, strict=True
  ):
    start = (template.landmark_positions(head), template.landmark_positions(true))
    found = scan_distances(points, head, skin, start=start)
    values.append(found.distances.mean())
  return {"": np.array(values)}


def _normals(cases: Cases) -> Values:
  """Mean angle between normals over the face that the photo shows, degrees.

  The heads are turned by the rotation of the similarity on the face.
  """
  flat = lambda maps: maps.reshape(len(maps), -1, 3)
  turn = np.asarray(
    align(
      flat(cases.head_texels), flat(cases.true_texels), cases.face.ravel(), scaled=True
    ).rotation
  )
  true, own = (
    flat(_cases.normal_texels(vertices, cases.template))
    for vertices in (cases.truths.vertices, cases.heads.vertices)
  )
  own = np.einsum("npj,nij->npi", own, turn)
  shown = cases.shown.reshape(len(turn), -1)
  return {
    "" if part == "face" else part: np.asarray(
      _geometry.normal_error(own, true, (shown * weights.ravel()).astype(np.float32))
    )
    for part, weights in cases.regions.items()
  }


def _depths(cases: Cases, alignment: str, which: str) -> Values:
  """SIDE (times 100) or MAD of 64² depth maps, protocol "mesh" of `depth_errors`."""
  assert cases.heads.pose is not None
  truths, template = cases.truths, cases.template
  true = np.asarray(head_to_world(truths.vertices, truths.pose))
  own = np.asarray(head_to_world(cases.heads.vertices, cases.heads.pose))
  own = _moved(own, true, template, alignment)
  camera = _cases.unsup3d_camera(truths.camera, _DEPTH_SIZE)
  maps = (_cases.depth_maps(w, template, camera, _DEPTH_SIZE) for w in (own, true))
  depth, truth = (values / camera.distance for values in maps)
  found = depth_errors(depth, truth, protocol="mesh")
  return {"": np.asarray(100 * found.side if which == "side" else found.mad)}


def _moved(
  own: np.ndarray, true: np.ndarray, template: Template, alignment: str
) -> np.ndarray:
  """Returns posed heads after an alignment with the true ones on the face."""
  if alignment == "none":
    return own
  weights = _cases.face_texels(template).ravel()
  flat = lambda world: _cases.texels(world, template).reshape(len(world), -1, 3)
  found = align(flat(own), flat(true), weights, scaled=True)
  return np.asarray(found(own))


def _rotations(cases: Cases) -> Values:
  """Angle of the rotation between both poses, degrees."""
  return {"": np.asarray(_geometry.rotation_error(_own_pose(cases), cases.truths.pose))}


def _own_pose(cases: Cases) -> Float[np.ndarray, "n 6"]:
  assert cases.heads.pose is not None
  return cases.heads.pose.astype(np.float32)


def _translations(cases: Cases, axis: int) -> Values:
  """Distance of the centers of the faces across or along the optical axis, mm."""
  weights = cases.face / cases.face.sum()
  center = lambda maps: np.einsum("nsxc,sx->nc", maps, weights)[:, None]
  true = head_to_world(center(cases.true_texels), cases.truths.pose)
  own = head_to_world(center(cases.head_texels), _own_pose(cases))
  apart = 100 * np.abs(np.asarray(own - true)[:, 0])
  return {"": np.linalg.norm(apart[:, :2], axis=-1) if axis == 0 else apart[:, 2]}


def _landmarks(cases: Cases, part: int) -> Values:
  """Normalized mean error of landmarks in the photo: 0 = inner ones, 1 = contour."""
  size = cases.truths.photos.shape[1]
  true = _landmarks_px(cases, cases.truths.vertices, cases.truths.pose, size)
  own = _landmarks_px(cases, cases.heads.vertices, _own_pose(cases), size)
  return {"": np.asarray(_geometry.landmark_error(own, true)[:, part])}


def _landmarks_px(
  cases: Cases,
  vertices: Float[np.ndarray, "n v 3"],
  pose: Float[np.ndarray, "n 6"],
  size: int,
) -> Float[np.ndarray, "n 68 2"]:
  """Returns the landmarks of posed heads in pictures of a size."""
  world = head_to_world(cases.template.landmark_positions(vertices), pose)
  return np.asarray(world_to_px(world, cases.truths.camera, size, size))


_PICTURES: dict[str, Callable[..., object]] = {
  "L1": _image.l1_error,
  "PSNR": _image.psnr,
  "SSIM": _image.ssim,
  "color": _image.color_difference,
  "perceptual": perceptual_distance,
}


def _diffuses(cases: Cases, error: str, shown: bool) -> Values:
  """Errors of diffuse maps over the face's texels that the photo shows, or hides."""
  own, true = cases.heads.diffuse, cases.truths.diffuse
  assert own is not None
  assert true is not None
  which = cases.shown if shown else ~cases.shown
  mask = (which * cases.face)[..., None].astype(np.float32)
  maps = (np.stack([_resized(m) for m in maps]) for maps in (own, true))
  return {"": np.asarray(_PICTURES[error](*maps, mask))}


def _resized(values: Float[np.ndarray, "s s 3"]) -> Float[np.ndarray, "m m 3"]:
  channels = np.moveaxis(values, -1, 0)
  return np.stack([uv.resize_mask(c, _cases.MAP_SIZE) for c in channels], -1)


def _renders(cases: Cases, error: str, size: int) -> Values:
  """Errors of the rendered head over the visible pixels that it covers."""
  images, alpha = rendered(cases, size)
  small = lambda values: np.asarray(
    resize_bilinear(jnp.asarray(values, jnp.float32), (size, size))
  )
  photos = small(cases.truths.photos / np.float32(255))
  visible = small(cases.truths.visible[..., None])
  mask = ((visible > 0.5) & (alpha > 0.99)).astype(np.float32)
  return {"": np.asarray(_PICTURES[error](images, photos, mask))}


def _identities(cases: Cases) -> Values:
  """Cosine of the embeddings of photo and head, the latter rendered over gray."""
  images, alpha = rendered(cases, _RENDER_SIZE)
  # The render of a head without a pose holds NaN; it counts as none.
  over = np.nan_to_num(images + _GRAY * (1 - alpha))
  pictures = np.rint(255 * np.clip(over, 0, 1)).astype(np.uint8)
  own = _landmarks_px(cases, cases.heads.vertices, _own_pose(cases), _RENDER_SIZE)
  photos, truths = cases.truths.photos, cases.truths
  true = _landmarks_px(cases, truths.vertices, truths.pose, photos.shape[1])
  placed = np.flatnonzero(np.isfinite(own).all((1, 2)))
  values = np.full(len(own), np.nan, np.float32)
  if len(placed):
    features = (
      _identity.identity_features([some[k] for k in placed], marks[placed])
      for some, marks in ((pictures, own), (photos, true))
    )
    values[placed] = _identity.identity_cosine(*features)
  return {"": values}


def rendered(
  cases: Cases, size: int
) -> tuple[Float[np.ndarray, "n h h 3"], Float[np.ndarray, "n h h 1"]]:
  """Returns the heads as the renderer draws them in the photos, and their coverage.

  Args:
    cases: Cases whose heads have pose, diffuse map and light.
    size: Side of the pictures, px.
  """
  heads = cases.heads
  assert heads.diffuse is not None
  assert heads.light is not None
  color = np.ones((len(heads), 3), np.float32)
  color = color if heads.light_color is None else heads.light_color
  world = head_to_world(heads.vertices, _own_pose(cases))
  maps = (jnp.asarray(values) for values in (heads.diffuse, heads.light, color))
  options = {"camera": cases.truths.camera, "size": size}
  images, alpha = _drawn(world, *maps, template=cases.template, **options)
  return np.asarray(images), np.asarray(alpha)


@functools.partial(jax.jit, static_argnames=("template", "camera", "size"))
def _drawn(
  world: Float[Array, "n v 3"],
  diffuse: Float[Array, "n s s 3"],
  light: Float[Array, "n l l 1"],
  color: Float[Array, "n 3"],
  *,
  template: Template,
  camera: Camera,
  size: int,
) -> tuple[Float[Array, "n h h 3"], Float[Array, "n h h 1"]]:
  texture = shade(diffuse, light, color)
  return render_head(world, texture, template, camera, (size, size))


def _rows() -> tuple[Measure, ...]:
  pose, paint = ("pose",), ("diffuse",)
  drawn = ("pose", "diffuse", "light")
  pictures = (("L1", ""), ("PSNR", "dB"), ("SSIM", ""), ("color", "ΔE"))
  part = functools.partial
  return (
    Measure("position, raw", "dm", part(_positions, alignment="none")),
    Measure("position, rigid", "dm", part(_positions, alignment="rigid")),
    Measure("position, similarity", "dm", part(_positions, alignment="similarity")),
    Measure("distance, raw", "mm", part(_distances, alignment="none")),
    Measure("distance, similarity", "mm", part(_distances, alignment="similarity")),
    Measure("distance, similarity, relative", "% IOD", _distances_percent),
    Measure("scan (NoW-like)", "mm", _scans, truth=("scans",)),
    Measure("normals, visible face", "deg", _normals),
    *(
      Measure(
        f"{which.upper()}, {name}",
        "1e-2" if which == "side" else "deg",
        part(_depths, alignment=alignment, which=which),
        heads=pose,
      )
      for alignment, name in (("none", "raw"), ("similarity", "similarity"))
      for which in ("side", "mad")
    ),
    Measure("rotation", "deg", _rotations, heads=pose),
    Measure("translation across", "mm", part(_translations, axis=0), heads=pose),
    Measure("translation along", "mm", part(_translations, axis=1), heads=pose),
    Measure("landmarks, inner", "% IOD", part(_landmarks, part=0), heads=pose),
    Measure("landmarks, contour", "% IOD", part(_landmarks, part=1), heads=pose),
    *(
      Measure(
        f"diffuse {error}, {name}",
        unit,
        part(_diffuses, error=error, shown=name == "visible"),
        truth=paint,
        heads=paint,
        higher=error in ("PSNR", "SSIM"),
      )
      for name in ("visible", "hidden")
      for error, unit in (*pictures, ("perceptual", ""))
    ),
    *(
      Measure(
        f"render {error}",
        unit,
        part(_renders, error=error, size=size),
        heads=drawn,
        higher=error in ("PSNR", "SSIM"),
      )
      for error, unit, size in (
        *((error, unit, _RENDER_SIZE) for error, unit in pictures),
        ("perceptual", "", _PERCEPTUAL_SIZE),
      )
    ),
    Measure("identity cosine", "", _identities, heads=drawn, higher=True),
  )


MEASURES = _rows()
