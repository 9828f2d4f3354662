"""Reconstruction without trained networks: a morphable head model is fitted."""

import dataclasses
import functools
import pathlib

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

import affjax
from affjax.export import Reconstruction
from affjax.faces import (
  Crop,
  Face,
  Fit,
  PhotoError,
  apply_crop,
  check_fittable,
  face_crops,
  find_faces,
  fit_faces,
  read_colors,
  visible_skin,
)
from affjax.geometry import uv
from affjax.heads import MorphableModel, open_head, plain_diffuse
from affjax.photos._inputs import Inputs
from affjax.photos._options import FitOptions, Progress
from affjax.photos._output import Report, face_facts, write_heads
from affjax.types import Camera

# Side of the crops, px.
_CROP_SIZE = 512


def fit_photos(
  inputs: Inputs,
  out: pathlib.Path,
  options: FitOptions = FitOptions(),  # noqa: B008
  *,
  progress: Progress = lambda path, faces: None,
) -> Report:
  """Fits a head model to every face of the photos and writes the files and the page.

  Args:
    inputs: Photos, as `gather` returns them.
    out: An existing folder; see `affjax.export.prepared_folder`.
    options: Options of the fit and of writing.
    progress: Function that is called after each photo, with its path and the number of
      its faces.

  Raises:
    ValueError: The template cannot be read or fitted, or the page of the folder is not
      one of affjax.
  """
  reconstructor = FitReconstructor(
    open_head(options.template),
    map_size=options.map_size,
    photometric=options.photometric,
  )
  return write_heads(inputs, out, reconstructor, options, progress=progress)


@dataclasses.dataclass(frozen=True, eq=False)
class FitReconstructor:
  """A `PhotoReconstructor` that fits a morphable head model to landmarks.

  Attributes:
    model: The head model; it needs the 68 standard landmarks.
    map_size: Side of the UV maps, texels.
    photometric: Whether diffuse and light maps are read off the photo.
  """

  model: MorphableModel
  map_size: int = FitOptions.map_size
  photometric: bool = FitOptions.photometric

  def __post_init__(self) -> None:
    check_fittable(self.model)

  @property
  def about(self) -> str:
    """A phrase for the page that names the method."""
    return f"model {self.model.template.name} fitted to landmarks"

  @functools.cached_property
  def plain(self) -> Float[np.ndarray, "s s 3"]:
    """The diffuse map of skin that the photo does not show."""
    return plain_diffuse(self.model.template, self.map_size)

  def heads_of(
    self, pixels: UInt8[np.ndarray, "h w 3"], path: pathlib.Path
  ) -> list[Reconstruction]:
    """Returns the fitted heads of all faces of a photo, largest first."""
    faces = find_faces(pixels)
    if not faces:
      raise PhotoError("no face found")
    camera = Camera()
    crops = face_crops(faces, self.model.template, camera, _CROP_SIZE)
    fits = fit_faces(self.model, faces, crops, camera)
    return [
      self._head(pixels, path, face, crop, fit)
      for face, crop, fit in zip(faces, crops, fits, strict=True)
    ]

  def _head(
    self,
    pixels: UInt8[np.ndarray, "h w 3"],
    path: pathlib.Path,
    face: Face,
    crop: Crop,
    fit: Fit,
  ) -> Reconstruction:
    template, camera = self.model.template, Camera()
    image = apply_crop(pixels, crop)
    diffuse, light = self._colors(image, fit, camera)
    table = uv.uv_table(template, self.map_size)
    return Reconstruction(
      template=template,
      camera=camera,
      crop_image=image,
      crop=np.asarray(crop.matrix, np.float64),
      position=np.asarray(uv.map_from_vertices(jnp.asarray(fit.vertices), table)),
      diffuse=diffuse,
      light=light,
      light_color=np.ones(3, np.float32),
      pose=fit.pose,
      found=face_facts(face),
      notes=_notes(path, self.model, fit),
    )

  def _colors(
    self, image: Float[np.ndarray, "c c 3"], fit: Fit, camera: Camera
  ) -> tuple[Float[np.ndarray, "s s 3"], Float[np.ndarray, "l l 1"]]:
    """Returns the diffuse map and the light map of a fitted head."""
    if not self.photometric:
      return self.plain, np.ones((self.map_size // 8,) * 2 + (1,), np.float32)
    visible = visible_skin(np.rint(image * 255).astype(np.uint8)[None])[0]
    template = self.model.template
    maps = read_colors(
      image, visible, fit.vertices, fit.pose, template, camera, self.plain
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
  }
