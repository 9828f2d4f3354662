"""Reconstruction without trained networks: a morphable head model is fitted."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

import affjax
from affjax.export import Expression, Reconstruction
from affjax.faces import (
  Crop,
  Face,
  Fit,
  PhotoError,
  Scalp,
  apply_crop,
  check_fittable,
  confidence,
  face_crops,
  find_faces,
  fit_faces,
  fit_surface,
  inside_photo,
  read_colors,
  read_photo,
  reads_surface_of,
  visible_share,
  visible_skin,
)
from affjax.geometry import uv
from affjax.heads import MorphableModel, plain_diffuse
from affjax.photos import _stages
from affjax.photos._options import FitOptions
from affjax.photos._output import face_facts
from affjax.photos._size import with_size
from affjax.types import Camera

# Side of the crops, px.
CROP_SIZE = 512


@dataclasses.dataclass(frozen=True, eq=False)
class FitReconstructor:
  """A `PhotoReconstructor` that fits a morphable head model.

  Attributes:
    model: The head model; it needs the 68 standard landmarks.
    method: "surface" (`affjax.faces.fit_surface`) or "landmarks" (`fit_faces`).
    map_size: Side of the UV maps, texels.
    photometric: Whether diffuse and light maps are read off the photo.
    scalp: The look of the scalp; see `read_colors`.
    iris: Whether heads get the size of their irises.
    known: Fits of the largest faces of photos, by path, that are known already.
  """

  model: MorphableModel
  method: Literal["surface", "landmarks"] = FitOptions.method
  map_size: int = FitOptions.map_size
  photometric: bool = FitOptions.photometric
  scalp: Scalp = FitOptions.scalp
  iris: bool = FitOptions.iris
  known: Mapping[pathlib.Path, Fit] = dataclasses.field(
    default_factory=lambda: MappingProxyType[pathlib.Path, Fit]({})
  )

  def __post_init__(self) -> None:
    check_fittable(self.model)

  @property
  def about(self) -> str:
    """A phrase for the page that names the method."""
    surface = self.method == "surface" and reads_surface_of(self.model)
    what = "the surface that pixels show" if surface else "landmarks"
    return f"model {self.model.template.name} fitted to {what}"

  @functools.cached_property
  def plain(self) -> Float[np.ndarray, "s s 3"]:
    """The diffuse map of skin that the photo does not show."""
    return plain_diffuse(self.model.template, self.map_size)

  def heads_of(
    self, pixels: UInt8[np.ndarray, "h w 3"], path: pathlib.Path
  ) -> list[Reconstruction]:
    """Returns the fitted heads of all faces of a photo, largest first."""
    _stages.enter_stage("detect")
    faces = find_faces(pixels)
    if not faces:
      raise PhotoError("no face found")
    _stages.enter_stage("fit")
    crops = face_crops(faces, self.model.template, Camera(), CROP_SIZE)
    images = [apply_crop(pixels, crop) for crop in crops]
    if path in self.known:
      fits = [self.known[path]]
    else:
      fits = self._fits(faces, crops, images)
    heads: list[Reconstruction] = []
    for image, face, crop, fit in zip(images, faces, crops, fits, strict=False):
      _stages.enter_stage("paint", len(heads) + 1, len(fits))
      inside = inside_photo(pixels, crop)
      heads.append(self.head_of(image, inside, path, face, crop, fit))
    return heads

  def of_one_person(self, photos: Sequence[pathlib.Path]) -> "FitReconstructor":
    """Returns a reconstructor whose photos share the identity of their largest face.

    Photos that cannot be read or show no face are left out; `heads_of` says why.
    """
    found: dict[pathlib.Path, tuple[Face, Crop, Float[np.ndarray, "c c 3"]]] = {}
    for path in photos:
      with contextlib.suppress(PhotoError):
        pixels = read_photo(path)
        faces = find_faces(pixels)[:1]
        crops = face_crops(faces, self.model.template, Camera(), CROP_SIZE)
        for face, crop in zip(faces, crops, strict=True):
          found[path] = face, crop, apply_crop(pixels, crop)
    rows = list(zip(*found.values(), strict=True)) or [(), (), ()]
    fits = self._fits(*rows, people=[0] * len(found))
    return dataclasses.replace(self, known=dict(zip(found, fits, strict=True)))

  def _fits(
    self,
    faces: Sequence[Face],
    crops: Sequence[Crop],
    images: Sequence[Float[np.ndarray, "c c 3"]],
    people: Sequence[int] | None = None,
  ) -> list[Fit]:
    if self.method == "landmarks" or not faces:
      return fit_faces(self.model, faces, crops, Camera())
    pixels = np.rint(np.stack(images) * 255).astype(np.uint8)
    return fit_surface(self.model, faces, crops, pixels, Camera(), people=people)

  def head_of(
    self,
    image: Float[np.ndarray, "c c 3"],
    inside: Float[np.ndarray, "c c 1"],
    path: pathlib.Path,
    face: Face,
    crop: Crop,
    fit: Fit,
  ) -> Reconstruction:
    """Returns the head of a fitted face.

    Args:
      image: Pixels of the crop.
      inside: Pixels of the crop that the photo has, as `inside_photo` returns them.
      path: The file of the photo.
      face: The face.
      crop: The crop.
      fit: The fit of the face.
    """
    template, camera = self.model.template, Camera()
    visible = visible_skin(np.rint(image * 255).astype(np.uint8)[None])[0]
    share = visible_share(fit.vertices, fit.pose, visible, template, camera)
    diffuse, light = self._colors(image, inside, visible, fit, camera)
    table = uv.uv_table(template, self.map_size)
    head = Reconstruction(
      template=template,
      camera=camera,
      crop_image=image,
      crop=np.asarray(crop.matrix, np.float64),
      position=uv.map_from_vertices(np.asarray(fit.vertices), table),
      diffuse=diffuse,
      light=light,
      light_color=np.ones(3, np.float32),
      pose=fit.pose,
      found=face_facts(face),
      notes=_notes(path, self.model, fit) | {"visible_share": round(share, 3)},
      expression=Expression(
        self.model.expression_names, self.model.expression_basis, fit.expression
      ),
      confidence=confidence(face, fit.inner_error, share),
    )
    return with_size(head, face) if self.iris else head

  def _colors(
    self,
    image: Float[np.ndarray, "c c 3"],
    inside: Float[np.ndarray, "c c 1"],
    visible: Float[np.ndarray, "c c 1"],
    fit: Fit,
    camera: Camera,
  ) -> tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "l l 1"]]:
    """Returns the diffuse map and the light map of a fitted head."""
    if not self.photometric:
      return self.plain, np.ones((self.map_size // 8,) * 2 + (1,), np.float32)
    template = self.model.template
    maps = read_colors(
      *(image, visible, fit.vertices, fit.pose, template, camera, self.plain),
      inside=inside,
      scalp=self.scalp,
    )
    return maps.diffuse, maps.light


def _notes(path: pathlib.Path, model: MorphableModel, fit: Fit) -> dict[str, object]:
  """Returns how a head was made, for pose.json."""
  expression = zip(model.expression_names, fit.expression, strict=True)
  return {
    "by": f"affjax {affjax.__version__}",
    "photo": path.name,
    "model": model.template.name,
    "identity": np.round(fit.identity.astype(float), 4).tolist(),
    "expression": {name: round(float(value), 4) for name, value in expression},
    "inner_error_percent": round(fit.inner_error, 3),
    "contour_error_percent": round(fit.contour_error, 3),
    "converged": fit.converged,
    "doubts": list(fit.doubts),
    **_deviations(fit),
  }


def _deviations(fit: Fit) -> dict[str, object]:
  """Returns how far the vertices may be off, as far as it is known."""
  if fit.deviations is None:
    return {}
  return {
    "deviation_mm_mean": round(float(fit.deviations.mean()), 2),
    "deviation_mm_by_vertex": np.round(fit.deviations.astype(float), 1).tolist(),
  }
