"""Prepares a unit of photos: reads, finds faces, aligns, adds geometry, encodes."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, UInt8

from affjax.data import _record
from affjax.data._preparation import quality
from affjax.data._preparation.inputs import Entry, Input
from affjax.data._preparation.outcomes import Kept, Skipped, UnitOutcome
from affjax.data._preparation.splits import Splits
from affjax.data._providers.interface import Geometry, Provider, Refusal
from affjax.faces import (
  Crop,
  Face,
  apply_crop,
  face_crops,
  find_in_all,
  visible_skin,
  warp,
)
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.types import Camera

# The number of a unit, and its photos.
Unit = tuple[int, Sequence[Entry]]
# The most pixels, of all photos together, that are in memory at once.
_MOST_PIXELS = 50_000_000
_WIDEST_MAP = 4096
# The least score of a face: what is unsure teaches nothing.
_LEAST_SCORE = 0.8


@dataclasses.dataclass(frozen=True)
class Rules:
  """The rules that determine a record besides photo and provider.

  Attributes:
    size: width and height of the aligned photos, px.
    licence: license that is written into every record.
    smallest: width of the smallest face that is kept, px of the photo.
    least_quality: lowest quality of a record that is kept.
    largest_only: whether only the largest face of a photo is kept.
    splits: rule that assigns photos to splits.
  """

  size: int
  licence: str
  smallest: float
  least_quality: float
  largest_only: bool
  splits: Splits


@dataclasses.dataclass(frozen=True, eq=False)
class _Photo:
  """A photo as it was read, with its diffuse map if it has one."""

  name: str
  pixels: np.ndarray
  diffuse: np.ndarray | None


@dataclasses.dataclass(frozen=True, eq=False)
class _AlignedFace:
  """A face that is aligned and has no geometry yet.

  `inside` is True where `image` shows the photo; `shape` is the photo's height and
  width.
  """

  name: str
  photo: str
  digest: str
  image: np.ndarray
  face: Face
  crop: Crop
  inside: np.ndarray
  shape: tuple[int, ...]
  diffuse: np.ndarray | None


class Preparer:
  """Turns units of photos into records; the same photos give the same bytes.

  Args:
    photos: Input that holds the photos.
    provider: Provider of the geometry.
    rules: Rules that determine the records.
    camera: Camera of the aligned photos.
  """

  def __init__(self, photos: Input, provider: Provider, rules: Rules, camera: Camera):
    self._input, self._provider = photos, provider
    self._rules, self._camera = rules, camera

  def __call__(self, entries: Sequence[Entry]) -> UnitOutcome:
    """Returns the records of a unit of photos, and the reasons for the others."""
    kept: list[Kept] = []
    skipped: list[Skipped] = []
    for group in self._groups(entries, skipped):
      samples = self._samples(group, skipped)
      geometries = self._geometry(samples)
      masks = _visible(samples, geometries)
      for made in map(self._record, samples, geometries, masks):
        if isinstance(made, Kept):
          kept.append(made)
        else:
          skipped.append(made)
    return UnitOutcome(len(entries), kept, skipped)

  def _groups(
    self, entries: Sequence[Entry], skipped: list[Skipped]
  ) -> Iterator[list[_Photo]]:
    """Yields groups of photos that fit into memory together."""
    group, pixels = [], 0
    for entry in entries:
      try:
        photo = self._input.read(entry)
      except (ValueError, OSError) as error:
        skipped.append(Skipped(entry.name, "unreadable photo", _line(error)))
        continue
      try:
        diffuse = None if entry.diffuse is None else self._map(entry.diffuse)
      except (ValueError, OSError) as error:
        skipped.append(Skipped(entry.name, "unfit diffuse map", _line(error)))
        continue
      if group and pixels + photo[..., 0].size > _MOST_PIXELS:
        yield group
        group, pixels = [], 0
      group.append(_Photo(entry.name, photo, diffuse))
      pixels += photo[..., 0].size
    if group:
      yield group

  def _map(self, entry: Entry) -> UInt8[np.ndarray, "m m 3"]:
    """Returns the pixels of a diffuse map."""
    pixels = self._input.read(entry)
    height, width = pixels.shape[:2]
    if height != width or width > _WIDEST_MAP:
      raise ValueError(
        f"map {entry.name!r} must be square and at most {_WIDEST_MAP} px wide, got "
        f"{width} x {height}"
      )
    return pixels

  def _samples(self, group: list[_Photo], skipped: list[Skipped]) -> list[_AlignedFace]:
    """Returns the faces of some photos, aligned."""
    if self._provider.aligned:
      return [self._whole(photo) for photo in group]
    found = find_in_all([photo.pixels for photo in group])
    wanted = [
      (photo, _digest(photo.pixels), source, face)
      for photo, faces in zip(group, found, strict=True)
      for source, face in self._wanted(photo.name, faces, skipped)
    ]
    cuts = face_crops(
      [face for *_, face in wanted],
      self._provider.template,
      self._camera,
      self._rules.size,
    )
    return [
      _AlignedFace(
        name=source,
        photo=photo.name,
        digest=digest,
        image=np.rint(apply_crop(photo.pixels, cut) * 255).astype(np.uint8),
        face=face,
        crop=cut,
        inside=_inside(photo.pixels, cut),
        shape=photo.pixels.shape[:2],
        # A diffuse map belongs to the photo's largest face.
        diffuse=photo.diffuse if source.endswith("#face 1") else None,
      )
      for (photo, digest, source, face), cut in zip(wanted, cuts, strict=True)
    ]

  def _wanted(
    self, name: str, faces: Sequence[Face], skipped: list[Skipped]
  ) -> Iterator[tuple[str, Face]]:
    """Yields the names and faces of a photo that are kept, the largest first."""
    sure = [face for face in faces if face.score >= _LEAST_SCORE]
    if not sure:
      reason = "none is sure" if faces else "no face found in any orientation"
      skipped.append(Skipped(name, "no face", reason))
    for k, face in enumerate(sure[:1] if self._rules.largest_only else sure, 1):
      source, width = f"{name}#face {k}", float(np.ptp(face.landmarks[:, 0]))
      if width < self._rules.smallest:
        reason = f"face is {width:.0f} px wide, less than {self._rules.smallest:g}"
        skipped.append(Skipped(source, "small face", reason))
      else:
        yield source, face

  def _whole(self, photo: _Photo) -> _AlignedFace:
    """Returns a photo of the provider's own, which is aligned already."""
    nothing = np.zeros((468, 3))
    face = Face(np.zeros(4), 1.0, nothing, nothing[:68, :2])
    same = np.eye(2, 3)
    return _AlignedFace(
      name=f"{photo.name}#face 1",
      photo=photo.name,
      digest=_digest(photo.pixels),
      image=photo.pixels,
      face=face,
      crop=Crop(same, len(photo.pixels)),
      inside=np.ones((*photo.pixels.shape[:2], 1), bool),
      shape=photo.pixels.shape[:2],
      diffuse=photo.diffuse,
    )

  def _geometry(self, samples: Sequence[_AlignedFace]) -> list[Geometry | Refusal]:
    """Returns the provider's answers; an error of one photo refuses that one alone."""
    if not samples:
      return []
    ask = lambda some: self._provider(
      np.stack([s.image for s in some]),
      [s.face for s in some],
      [s.crop for s in some],
      [s.name for s in some],
    )
    try:
      return ask(samples)
    except (ValueError, ArithmeticError) as error:
      if len(samples) == 1:
        return [Refusal(_line(error))]
      return [answer for s in samples for answer in self._geometry([s])]

  def _record(
    self, sample: _AlignedFace, geometry: Geometry | Refusal, mask: np.ndarray
  ) -> Kept | Skipped:
    if isinstance(geometry, Refusal):
      return Skipped(sample.name, "no geometry", geometry.reason)
    px = self._landmarks(sample, geometry)
    score = quality.quality(
      geometry=geometry.quality,
      detection=sample.face.score,
      resolution=quality.resolution(sample.crop),
      sharpness=1.0 if self._provider.aligned else quality.sharpness(sample.image, px),
      within=quality.within(sample.face.landmarks68, sample.shape),
    )
    if score < self._rules.least_quality:
      reason = f"quality {score:.2f} is below {self._rules.least_quality:g}"
      return Skipped(sample.name, "low quality", reason)
    try:
      content = _record.encode(self._fields(sample, geometry, mask, px, score))
    except ValueError as error:
      return Skipped(sample.name, "no geometry", _line(error))
    return Kept(
      source=sample.name,
      photo=sample.photo,
      split=self._rules.splits.of(sample.photo),
      quality=round(score, 4),
      error=round(geometry.error, 4) if np.isfinite(geometry.error) else -1.0,
      digest=sample.digest,
      content=content,
    )

  def _landmarks(self, sample: _AlignedFace, geometry: Geometry) -> np.ndarray:
    """Returns the 68 landmarks in the aligned photo, px."""
    if not self._provider.aligned or geometry.pose is None:
      return warp.transform(sample.crop.matrix, sample.face.landmarks68)
    shape = jnp.asarray(geometry.vertices)
    points = self._provider.template.landmark_positions(shape)
    world = head_to_world(jnp.asarray(points), jnp.asarray(geometry.pose))
    size = sample.crop.size
    return np.asarray(world_to_px(world, self._camera, size, size))

  def _fields(
    self,
    sample: _AlignedFace,
    geometry: Geometry,
    mask: np.ndarray,
    px: np.ndarray,
    score: float,
  ) -> dict[str, Any]:
    """Returns the record as `_record.encode` takes it."""
    pose = geometry.pose
    diffuse = sample.diffuse if geometry.diffuse is None else geometry.diffuse
    return {
      "image": sample.image,
      "visible": mask,
      "vertices": geometry.vertices,
      "pose": np.zeros(6, np.float32) if pose is None else pose,
      "landmarks": px,
      "diffuse": np.zeros((1, 1, 3), np.uint8) if diffuse is None else diffuse,
      "has_pose": np.float32(pose is not None),
      "has_diffuse": np.float32(diffuse is not None),
      "source": sample.name.encode("utf-8", "replace").decode(),
      "licence": self._rules.licence,
      "quality": np.float32(score),
      "crop": sample.crop.matrix,
    }


def _visible(
  samples: Sequence[_AlignedFace], geometries: Sequence[Geometry | Refusal]
) -> list[UInt8[np.ndarray, "s s 1"]]:
  """Returns masks of the head's own surface: the provider's, or estimated ones."""
  known = [None if isinstance(g, Refusal) else g.visible for g in geometries]
  if samples and any(mask is None for mask in known):
    seen = visible_skin(np.stack([s.image for s in samples]))
    inside = np.stack([s.inside for s in samples])
    masks = np.rint(np.multiply(seen, 255, out=seen)).astype(np.uint8) * inside
    return [m if k is None else k for k, m in zip(known, masks, strict=True)]
  return [mask for mask in known if mask is not None]


def _inside(photo: np.ndarray, crop: Crop) -> Bool[np.ndarray, "s s 1"]:
  """Returns where a crop shows the photo and not its repeated edge."""
  height, width = photo.shape[:2]
  way = warp.invert(crop.matrix)
  steps = np.arange(crop.size)
  inside = np.ones((crop.size, crop.size), bool)
  for (along, down, shift), length in zip(way, (width, height), strict=True):
    px = (along * steps + shift)[None] + (down * steps)[:, None]
    inside &= (px >= -0.5) & (px <= length - 0.5)
  return inside[..., None]


def _digest(photo: np.ndarray) -> str:
  """Returns a digest of a photo's pixels."""
  content = hashlib.sha256(np.ascontiguousarray(photo).data)
  content.update(str(photo.shape).encode())
  return content.hexdigest()


def _line(error: Exception) -> str:
  """Returns an error's message in one line of bounded length."""
  return " ".join(str(error).split())[:300] or type(error).__name__
