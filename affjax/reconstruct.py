"""From photos to files: read, find faces, crop, predict, pose, write.

`affjax.cli` is a thin skin over `reconstruct`; everything here can be called from
Python as well.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

import affjax
from affjax import build
from affjax.export import (
  OutputError,
  PageFace,
  PagePhoto,
  Reconstruction,
  head_files,
  is_page,
  page_face,
  page_html,
  unique_names,
  write_beside,
  written_beside,
)
from affjax.faces import (
  Crop,
  Face,
  PhotoError,
  apply_crop,
  face_crops,
  find_faces,
  read_photo,
  solve_pose,
  warp,
)
from affjax.geometry import uv
from affjax.heads import landmarks

# Where `make demo` leaves its trained networks.
DEFAULT_RUN = pathlib.Path("out/demo/run")
POSES = ("landmarks", "network")

# What a file in a folder must be called to count as a photo.
_SUFFIXES = frozenset(
  (
    *(".avif", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpeg", ".jpg", ".mpo"),
    *(".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
  )
)
# Faces that pass the networks at once.
_CHUNK = 8


class WeightsError(ValueError):
  """There are no weights to use; the message is one line for the user."""


@dataclasses.dataclass(frozen=True)
class Inputs:
  """What the user named.

  Attributes:
    photos: files to read, each once.
    problems: paths that give nothing, and why.
    ignored: how many entries of folders are not called like photos.
  """

  photos: tuple[pathlib.Path, ...]
  problems: Mapping[str, str]
  ignored: int


@dataclasses.dataclass(frozen=True)
class Report:
  """What came of it.

  Attributes:
    page: the written page; None without any head.
    heads: number of faces written.
    photos: number of photos that gave at least one.
    problems: photos that gave none, and why, in the order of the photos.
  """

  page: pathlib.Path | None
  heads: int
  photos: int
  problems: Mapping[str, str]


def gather(paths: Sequence[pathlib.Path]) -> Inputs:
  """The photos that paths name: files as they are, of folders what looks like one.

  Folders are not searched deeper. A path that does not exist, or a folder without any
  photo, is a problem, not an error: the others are still done.
  """
  photos: dict[pathlib.Path, pathlib.Path] = {}
  problems: dict[str, str] = {}
  ignored = 0
  for path in paths:
    if not path.is_dir():
      photos.setdefault(path.absolute(), path)
      continue
    try:
      entries = sorted(path.iterdir())
    except OSError as error:
      problems[str(path)] = f"cannot list the folder: {error.strerror}"
      continue
    named = [e for e in entries if e.suffix.lower() in _SUFFIXES and not e.is_dir()]
    ignored += len(entries) - len(named)
    if not named:
      problems[str(path)] = "no photos in this folder"
    for entry in named:
      photos.setdefault(entry.absolute(), entry)
  return Inputs(photos=tuple(photos.values()), problems=problems, ignored=ignored)


def load_run(workdir: pathlib.Path | None) -> build.Run:
  """The networks of a training workdir.

  Args:
    workdir: as given to training; None takes what `make demo` left, if it did.

  Raises:
    ValueError: there is none, or it does not fit this program.
  """
  if workdir is None:
    if not DEFAULT_RUN.is_dir():
      raise WeightsError(
        f"no weights: run `make demo`, which leaves some in {str(DEFAULT_RUN)!r}, or "
        "pass a training workdir with --weights"
      )
    workdir = DEFAULT_RUN
  if not workdir.is_dir():
    raise WeightsError(f"weights {str(workdir)!r}: no such training workdir")
  return build.load_run(workdir)


def reconstruct(
  inputs: Inputs,
  out: pathlib.Path,
  *,
  run: build.Run,
  pose: str = "landmarks",
  keep_original: bool = False,
  overwrite: bool = False,
  progress: Callable[[pathlib.Path, int], None] = lambda path, faces: None,
) -> Report:
  """Reconstructs every face of every photo and writes `OUT/<photo>/face<k>/...`.

  A photo's folder appears whole or not at all, and a photo that fails stops no other.
  The page `OUT/index.html` comes last.

  Args:
    inputs: what `gather` found.
    out: an existing folder, see `affjax.export.folder.prepared`.
    run: the networks.
    pose: "landmarks" turns and places the predicted shape so that its landmarks meet
      the detected ones; "network" takes the pose network's word.
    keep_original: whether overlays leave photos their own eyes and mouth interiors.
    overwrite: whether a result of the same name is replaced. Only folders and pages
      that look like results of this program ever are.
    progress: called after each photo with its path and how many faces it gave.
  """
  if pose not in POSES:
    raise ValueError(f"pose must be one of {', '.join(POSES)}, got {pose!r}")
  predict = _predictor(run)
  return write_heads(
    inputs,
    out,
    heads_of=functools.partial(_heads, run=run, predict=predict, pose=pose),
    about=f"networks of {run.stage}, step {run.step}",
    keep_original=keep_original,
    overwrite=overwrite,
    progress=progress,
  )


def write_heads(
  inputs: Inputs,
  out: pathlib.Path,
  *,
  heads_of: Callable[..., list[Reconstruction]],
  about: str,
  keep_original: bool = False,
  overwrite: bool = False,
  progress: Callable[[pathlib.Path, int], None] = lambda path, faces: None,
) -> Report:
  """Writes the heads of all photos, and the page; see `reconstruct`.

  Args:
    inputs: what `gather` found.
    out: an existing folder, see `affjax.export.folder.prepared`.
    heads_of: the heads of a photo, from its pixels and its path; raises a `ValueError`
      where there are none.
    about: by what, for the page.
    keep_original: see `reconstruct`, as the following.
    overwrite: whether results are replaced.
    progress: called after each photo.
  """
  index = out / "index.html"
  if index.exists() and not is_page(index.read_text("utf-8", "replace")):
    raise OutputError(f"{str(index)!r} is not a page of affjax; not replaced")
  shown, problems = [], dict(inputs.problems)
  names = unique_names(inputs.photos)
  for path, name in zip(inputs.photos, names, strict=True):
    try:
      pixels = read_photo(path)
      heads = heads_of(pixels, path)
      faces = _write(
        heads, pixels, out / name, keep_original=keep_original, overwrite=overwrite
      )
    except Exception as error:
      problems[str(path)] = _reason(error, path)
      progress(path, 0)
      continue
    shown.append(PagePhoto(path.name, pixels.shape[:2], faces))
    progress(path, len(faces))
  if shown:
    _write_page(index, shown, problems, about)
  return Report(
    page=index if shown else None,
    heads=sum(len(entry.faces) for entry in shown),
    photos=len(shown),
    problems=problems,
  )


def _heads(
  pixels: UInt8[np.ndarray, "h w 3"],
  path: pathlib.Path,
  *,
  run: build.Run,
  predict: Callable[..., dict[str, np.ndarray]],
  pose: str,
) -> list[Reconstruction]:
  """The heads of all faces of a photo, largest first."""
  faces = find_faces(pixels)
  if not faces:
    raise PhotoError("no face found")
  template, camera = run.reconstructor.template, run.reconstructor.camera
  size = run.reconstructor.networks.size
  crops = face_crops(faces, template, camera, size)
  images = np.stack([apply_crop(pixels, placed) for placed in crops])
  maps = predict(images)
  guessed = maps["pose"]
  if pose == "landmarks":
    # The networks that look at the posed shape shall look at the better pose.
    solved = [
      _solved_pose(position, face, placed, run)
      for position, face, placed in zip(maps["position"], faces, crops, strict=True)
    ]
    maps = predict(images, np.stack(solved).astype(np.float32))
  return [
    Reconstruction(
      template=template,
      camera=camera,
      crop_image=images[k],
      crop=np.asarray(crops[k].matrix, np.float64),
      found=face_facts(faces[k]),
      notes={
        "by": f"affjax {affjax.__version__}",
        "photo": path.name,
        "networks": f"{run.stage}, step {run.step}",
        "pose_from": pose,
        "pose_of_network": guessed[k].tolist(),
      },
      **{name: values[k] for name, values in maps.items()},
    )
    for k in range(len(faces))
  ]


def _predictor(run: build.Run) -> Callable[..., dict[str, np.ndarray]]:
  """The networks as a function of images `[N, S, S, 3]` and, if known, poses `[N, 6]`.

  Compiled for 1, 2, 4 and 8 faces at once.
  """
  network = jax.jit(functools.partial(run.reconstructor, render=False))
  names = ("position", "diffuse", "light", "light_color", "pose")

  def predict_chunk(images, pose) -> dict[str, np.ndarray]:
    count = len(images)
    padding = (1 << (count - 1).bit_length()) - count
    padded = (
      None if x is None else np.concatenate([x, np.repeat(x[-1:], padding, 0)])
      for x in (images, pose)
    )
    images, pose = padded
    found = network(run.params, images, pose=pose)
    return {name: np.asarray(getattr(found, name))[:count] for name in names}

  def predict(images: np.ndarray, pose: np.ndarray | None = None):
    parts = []
    for k in range(0, len(images), _CHUNK):
      part = slice(k, k + _CHUNK)
      parts.append(predict_chunk(images[part], None if pose is None else pose[part]))
    maps = {name: np.concatenate([part[name] for part in parts]) for name in names}
    for name, values in maps.items():
      if not np.isfinite(values).all():
        raise ValueError(f"the networks gave NaN or infinity in {name}")
    return maps

  return predict


def _solved_pose(
  position: Float[np.ndarray, "s s 3"],
  face: Face,
  placed: Crop,
  run: build.Run,
) -> Float[np.ndarray, " 6"]:
  """The pose in which the predicted shape meets the detected landmarks."""
  networks = run.reconstructor
  vertices = uv.vertices_from_map(jnp.asarray(position), networks.table)
  points = np.asarray(landmarks.landmarks68(vertices, networks.template))
  px = warp.transform(placed.matrix, face.landmarks68)
  return solve_pose(points, px, networks.camera, placed.size)


def face_facts(face: Face) -> dict[str, Any]:
  """What pose.json says about the face itself."""
  return {
    "box_px": np.asarray(face.box, float).tolist(),
    "score": float(face.score),
    "landmarks68_px": np.round(np.asarray(face.landmarks68, float), 2).tolist(),
  }


def _write(
  heads: Sequence[Reconstruction],
  pixels: UInt8[np.ndarray, "h w 3"],
  place: pathlib.Path,
  *,
  keep_original: bool,
  overwrite: bool,
) -> list[PageFace]:
  """Writes a photo's folder; returns what the page shows of it."""
  if place.exists() and not (place / "face1" / "pose.json").is_file():
    raise OutputError(f"{str(place)!r} is not a result of affjax; not replaced")
  faces = []
  with written_beside(place, overwrite=overwrite) as partial:
    for k, head in enumerate(heads, start=1):
      files = head_files(head, pixels, keep_original=keep_original)
      (partial / f"face{k}").mkdir()
      for name, content in files.items():
        (partial / f"face{k}" / name).write_bytes(content)
      where = f"{place.name}/face{k}"
      faces.append(page_face(head, pixels, files, title=f"Face {k}", folder=where))
  return faces


def _write_page(
  index: pathlib.Path,
  shown: Sequence[PagePhoto],
  problems: Mapping[str, str],
  about: str,
) -> None:
  """Writes the page."""
  text = page_html(
    shown,
    title="Heads from photographs",
    footer=f"Made by affjax {affjax.__version__}, {about}. OBJ and GLB are in metres, "
    "position.npy in decimetres.",
    problems=problems,
  )
  write_beside(index, text.encode("utf-8", "replace"))


def _reason(error: Exception, path: pathlib.Path) -> str:
  """Why a photo gave nothing, in one line without the photo's name."""
  message = " ".join(str(error).split())
  for start in (f"photo {str(path)!r}: ", f"{path}: "):
    message = message.removeprefix(start)
  if isinstance(error, ValueError) and message:
    return message
  if isinstance(error, OSError) and error.strerror:
    return error.strerror
  return f"unexpected {type(error).__name__}: {message[:300]}"
