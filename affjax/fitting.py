"""From photos to files without trained networks: a morphable model is fitted.

The chain of `affjax.reconstruct`, with landmarks, a fit and the photo's own colours in
the place of the networks. `affjax.cli` is a thin skin over `fit_photos`.
"""

import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

import affjax
from affjax import reconstruct
from affjax.data._synthetic import layout, sampling, skin
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
from affjax.heads import MorphableModel
from affjax.types import Camera

# Side of the crops, px.
CROP_SIZE = 512
MAP_SIZES = (64, 1024)
# Skin of models that have no plain map.
_SKIN = np.array([0.78, 0.6, 0.52], np.float32)


def fit_photos(
  inputs: reconstruct.Inputs,
  out: pathlib.Path,
  *,
  model: MorphableModel,
  map_size: int = 512,
  colors: bool = True,
  keep_original: bool = False,
  overwrite: bool = False,
  progress: Callable[[pathlib.Path, int], None] = lambda path, faces: None,
) -> reconstruct.Report:
  """Fits a model to every face of every photo and writes what `reconstruct` writes.

  Args:
    inputs: what `reconstruct.gather` found.
    out: an existing folder, see `affjax.export.folder.prepared`.
    model: what is fitted; it needs the 68 standard landmarks.
    map_size: S of the maps, a multiple of 8.
    colors: whether diffuse and light are read off the photo; else the plain map.
    keep_original: whether overlays leave photos their own eyes and mouth interiors.
    overwrite: whether a result of the same name is replaced.
    progress: called after each photo with its path and how many faces it gave.

  Raises:
    ValueError: `map_size` is not among those possible, or the model cannot be fitted.
  """
  if map_size % 8 or not MAP_SIZES[0] <= map_size <= MAP_SIZES[1]:
    raise ValueError(
      f"map_size must be a multiple of 8 in {list(MAP_SIZES)}, got {map_size}"
    )
  check_fittable(model)
  heads = functools.partial(_heads, model=model, map_size=map_size, colors=colors)
  return reconstruct.write_heads(
    inputs,
    out,
    heads_of=heads,
    about=f"model {model.template.name} fitted to landmarks",
    keep_original=keep_original,
    overwrite=overwrite,
    progress=progress,
  )


@functools.lru_cache(maxsize=2)
def plain_map(model: MorphableModel, size: int) -> Float[np.ndarray, "s s 3"]:
  """The diffuse map of nobody: smooth skin, brows, eyes, teeth.

  Models other than the embedded head get plain skin.
  """
  if model.template.name != "embedded":
    return np.broadcast_to(_SKIN, (size, size, 3))
  drawn = sampling.scene(sampling.generator(0, "plain", 0), model).skin
  names = ("freckles", "moles", "blush", "nose_red", "bags", "age", "mottle")
  names += ("lip_paint", "lid_paint", "scalp", "hairline")
  person = drawn._replace(
    **dict.fromkeys(names, jnp.float32(0)),
    melanin=jnp.float32(0.25),
    lip_blood=jnp.float32(0.5),
    beard=jnp.zeros(4),
  )
  places = layout.layout(model.template, size)
  return np.asarray(jax.jit(skin.diffuse_map)(person, places))


def _heads(
  pixels: UInt8[np.ndarray, "h w 3"],
  path: pathlib.Path,
  *,
  model: MorphableModel,
  map_size: int,
  colors: bool,
) -> list[Reconstruction]:
  """The heads of all faces of a photo, largest first."""
  faces = find_faces(pixels)
  if not faces:
    raise PhotoError("no face found")
  camera = Camera()
  crops = face_crops(faces, model.template, camera, CROP_SIZE)
  found = fit_faces(model, faces, crops, camera)
  return [
    _head(
      pixels, path, face, placed, one, model=model, map_size=map_size, colors=colors
    )
    for face, placed, one in zip(faces, crops, found, strict=True)
  ]


def _head(
  pixels,
  path: pathlib.Path,
  face: Face,
  placed: Crop,
  one: Fit,
  *,
  model: MorphableModel,
  map_size: int,
  colors: bool,
) -> Reconstruction:
  image, camera = apply_crop(pixels, placed), Camera()
  table = uv.uv_table(model.template, map_size)
  plain = plain_map(model, map_size)
  light = np.ones((map_size // 8, map_size // 8, 1), np.float32)
  if colors:
    seen = visible_skin(np.rint(image * 255).astype(np.uint8)[None])[0]
    maps = read_colors(
      image, seen, one.vertices, one.pose, model.template, camera, plain
    )
    plain, light = maps.diffuse, maps.light
  return Reconstruction(
    template=model.template,
    camera=camera,
    crop_image=image,
    crop=np.asarray(placed.matrix, np.float64),
    position=np.asarray(uv.map_from_vertices(jnp.asarray(one.vertices), table)),
    diffuse=plain,
    light=light,
    light_color=np.ones(3, np.float32),
    pose=one.pose,
    found=reconstruct.face_facts(face),
    notes={
      "by": f"affjax {affjax.__version__}",
      "photo": path.name,
      "model": model.template.name,
      "identity": np.round(one.identity.astype(float), 4).tolist(),
      "expression": {
        name: round(float(value), 4)
        for name, value in zip(model.expression_names, one.expression, strict=True)
      },
      "inner_error_percent": round(one.inner_error, 3),
      "contour_error_percent": round(one.contour_error, 3),
      "converged": one.converged,
    },
  )
