"""Reconstruction by trained networks."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, UInt8

import affjax
from affjax import compilation
from affjax.export import Expression, Reconstruction
from affjax.faces import (
  Crop,
  Face,
  Fit,
  PhotoError,
  apply_crop,
  confidence,
  face_crops,
  find_faces,
  fit_surface,
  inside_photo,
  landmark_errors,
  read_colors,
  solve_pose,
  visible_share,
  visible_skin,
  warp,
  with_eyes_and_mouth,
)
from affjax.geometry import uv
from affjax.geometry.camera import head_to_world, world_to_px
from affjax.heads import MorphableModel, explain_vertices, plain_diffuse
from affjax.models import Reconstructor
from affjax.photos import _stages
from affjax.photos._inputs import Inputs
from affjax.photos._options import Progress, ReconstructOptions
from affjax.photos._output import Report, face_facts, write_heads
from affjax.photos._size import with_size
from affjax.types import Guide

# Side of the crops that heads are fitted to, px.
_FITTED_SIZE = 512
# Largest number of faces that the networks take at once.
_CHUNK = 8
_MAPS = ("position", "diffuse", "light", "light_color", "pose")


@runtime_checkable
class TrainedNetworks(Protocol):
  """Networks with their weights, as `affjax.build.load_run` returns them.

  Attributes:
    reconstructor: The four networks with their template and camera.
    head: Head model of the template, which is fitted to photos as a guide.
    params: Parameters of the networks.
    stage: Name of the last training stage.
    step: Number of training steps of that stage.
    head: Model of the head whose template the networks predict.
    untrained: Networks whose weights are still as they were initialized.
  """

  @property
  def reconstructor(self) -> Reconstructor: ...
  @property
  def head(self) -> MorphableModel: ...
  @property
  def params(self) -> Any: ...
  @property
  def stage(self) -> str: ...
  @property
  def step(self) -> int: ...
  @property
  def untrained(self) -> tuple[str, ...]: ...


def reconstruct_photos(
  inputs: Inputs,
  out: pathlib.Path,
  networks: TrainedNetworks,
  options: ReconstructOptions = ReconstructOptions(),  # noqa: B008
  *,
  load: Callable[[], TrainedNetworks] | None = None,
  progress: Progress = lambda path, faces: None,
) -> Report:
  """Reconstructs every face of the photos and writes the files and the page.

  Args:
    inputs: Photos, as `gather` returns them.
    out: An existing folder; see `affjax.export.prepared_folder`.
    networks: Trained networks.
    options: Options of the pose and of writing.
    load: Picklable function that loads the networks again, in worker processes; None
      does all photos in this process.
    progress: Function that is called after each photo, with its path and the number of
      its faces.

  Raises:
    ValueError: A network that is used has not been trained.
  """
  reconstructor = _reconstructor(networks, options)
  reconstructor.require_trained()
  make = load and functools.partial(_made_again, load, options)
  return write_heads(inputs, out, reconstructor, options, make=make, progress=progress)


def _made_again(
  load: Callable[[], TrainedNetworks], options: ReconstructOptions
) -> "NetworkReconstructor":
  """Returns the reconstructor in a worker process."""
  compilation.enable()
  return _reconstructor(load(), options)


def _reconstructor(
  networks: TrainedNetworks, options: ReconstructOptions
) -> "NetworkReconstructor":
  """Returns the reconstructor that options ask for."""
  return NetworkReconstructor(
    networks, options.pose, iris=options.iris, map_size=options.map_size
  )


class _CoarseHeads(NamedTuple):
  """Heads that are fitted to faces.

  Attributes:
    guide: The heads, as guided networks take them.
    fits: The fits, of which the guide has shape and pose.
    images: The crops that they were fitted to.
    skin: Share of each pixel of the crops that shows the head's own surface.
    inside: Pixels of the crops that the photo has.
  """

  guide: Guide
  fits: list[Fit]
  images: Float[np.ndarray, "n c c 3"]
  skin: Float[np.ndarray, "n c c 1"]
  inside: list[Float[np.ndarray, "c c 1"]]


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkReconstructor:
  """A `PhotoReconstructor` by trained networks.

  Attributes:
    networks: The trained networks.
    pose: "auto", "landmarks" or "network"; see `ReconstructOptions`.
    iris: Whether heads get the size of their irises.
    map_size: Side of the maps, px; at least that at which the networks were trained.
  """

  networks: TrainedNetworks
  pose: str = ReconstructOptions.pose
  iris: bool = ReconstructOptions.iris
  map_size: int = ReconstructOptions.map_size

  @property
  def about(self) -> str:
    """A phrase for the page that names the method."""
    return f"networks of {self.networks.stage}, step {self.networks.step}"

  @property
  def pose_from(self) -> str:
    """Where the pose comes from: "landmarks" or "network"."""
    if self.pose != "auto":
      return self.pose
    return "network" if self.networks.reconstructor.networks.guided else "landmarks"

  def require_trained(self) -> None:
    """Raises a ValueError if the heads would show untrained networks."""
    needless = {"pose"} if self.pose_from == "landmarks" else set[str]()
    missing = [name for name in self.networks.untrained if name not in needless]
    if missing:
      raise ValueError(
        f"the weights of {', '.join(missing)} have not been trained, only "
        f"{self.networks.stage} has run: train the next stages in the same workdir "
        "first"
      )

  def heads_of(
    self, pixels: UInt8[np.ndarray, "h w 3"], path: pathlib.Path
  ) -> list[Reconstruction]:
    """Returns the heads of all faces of a photo, largest first."""
    _stages.enter_stage("detect")
    faces = find_faces(pixels)
    if not faces:
      raise PhotoError("no face found")
    nets = self.reconstructor
    crops = face_crops(faces, nets.template, nets.camera, nets.networks.side)
    images = np.stack([apply_crop(pixels, crop) for crop in crops])
    _stages.enter_stage("fit")
    coarse = self._coarse_heads(pixels, faces) if nets.networks.guided else None
    guide = coarse.guide if coarse else None
    _stages.enter_stage("predict")
    maps = self.predict(images, guide=guide)
    pairs = list(zip(faces, crops, strict=True))
    predicted_pose = maps["pose"]
    if self.pose_from == "landmarks":
      # The diffuse and light networks see the shape in the better pose.
      solved = [
        self._solved_pose(position, face, crop)
        for position, (face, crop) in zip(maps["position"], pairs, strict=True)
      ]
      maps = self.predict(images, np.stack(solved).astype(np.float32), guide=guide)
    if coarse:
      _stages.enter_stage("paint")
      maps["diffuse"] = self._with_eyes_and_mouth(maps, coarse)
    residuals = [
      self._residual(position, pose, face, crop)
      for position, pose, (face, crop) in zip(
        maps["position"], maps["pose"], pairs, strict=True
      )
    ]
    visible = visible_skin(np.rint(images * 255).astype(np.uint8))
    shares = [
      visible_share(
        np.asarray(uv.vertices_from_map(position, nets.table)),
        *(pose, skin, nets.template, nets.camera),
      )
      for position, pose, skin in zip(
        maps["position"], maps["pose"], visible, strict=True
      )
    ]
    heads = [
      Reconstruction(
        template=nets.template,
        camera=nets.camera,
        crop_image=images[k],
        crop=np.asarray(crops[k].matrix, np.float64),
        found=face_facts(faces[k]),
        notes={
          "by": f"affjax {affjax.__version__}",
          "photo": path.name,
          "networks": f"{self.networks.stage}, step {self.networks.step}",
          "pose_from": self.pose_from,
          "pose_of_network": predicted_pose[k].tolist(),
          "inner_error_percent": round(residuals[k], 3),
          "visible_share": round(shares[k], 3),
        },
        expression=self._expression(maps["position"][k]),
        confidence=confidence(faces[k], residuals[k], shares[k]),
        **{name: values[k] for name, values in maps.items()},
      )
      for k in range(len(faces))
    ]
    if not self.iris:
      return heads
    return [with_size(head, face) for head, face in zip(heads, faces, strict=True)]

  def _expression(self, position: Float[np.ndarray, "s s 3"]) -> Expression:
    """Returns the expression that the model finds in a predicted position map."""
    head, table = self.networks.head, self.reconstructor.table
    vertices = np.asarray(uv.vertices_from_map(position, table))
    _, weights = explain_vertices(head, vertices)
    return Expression(head.expression_names, head.expression_basis, weights)

  def predict(
    self,
    images: Float[np.ndarray, "n s s 3"],
    pose: Float[np.ndarray, "n 6"] | None = None,
    *,
    guide: Guide | None = None,
  ) -> dict[str, Float[np.ndarray, "n ..."]]:
    """Returns the maps and poses that the networks predict, by name.

    Args:
      images: Crops in [0, 1].
      pose: Known poses, which replace those of the pose network.
      guide: Coarse heads, for guided networks.

    Raises:
      ValueError: A network returned NaN or infinity.
    """
    parts = []
    for k in range(0, len(images), _CHUNK):
      chunk = slice(k, k + _CHUNK)
      known = jax.tree.map(
        lambda x, part=chunk: x[part], {"pose": pose, "guide": guide}
      )
      parts.append(self._predict_chunk(images[chunk], known))
    maps = {name: np.concatenate([part[name] for part in parts]) for name in _MAPS}
    for name, values in maps.items():
      if not np.isfinite(values).all():
        raise ValueError(f"the networks returned NaN or infinity in {name}")
    return maps

  def _predict_chunk(
    self, images: Float[np.ndarray, "n s s 3"], known: dict[str, Any]
  ) -> dict[str, Float[np.ndarray, "n ..."]]:
    """Pads to 1, 2, 4 or 8 faces, so that the networks are compiled for few sizes."""
    count = len(images)
    padding = (1 << (count - 1).bit_length()) - count
    padded = lambda x: np.concatenate([x, np.repeat(x[-1:], padding, 0)])
    given = {name: x for name, x in known.items() if x is not None}
    prediction = self._compiled(
      self.networks.params, padded(images), **jax.tree.map(padded, given)
    )
    return {name: np.asarray(getattr(prediction, name))[:count] for name in _MAPS}

  @functools.cached_property
  def _compiled(self) -> Any:
    return jax.jit(functools.partial(self.reconstructor, render=False))

  @functools.cached_property
  def reconstructor(self) -> Any:
    """The networks, for photos and maps of the size that is asked for."""
    return self.networks.reconstructor.with_map_size(self.map_size)

  def _coarse_heads(
    self, pixels: UInt8[np.ndarray, "h w 3"], faces: Sequence[Face]
  ) -> _CoarseHeads:
    """Returns the heads that are fitted to faces, and what they were fitted to."""
    nets, model = self.reconstructor, self.networks.head
    crops = face_crops(faces, model.template, nets.camera, _FITTED_SIZE)
    images = np.stack([apply_crop(pixels, crop) for crop in crops])
    rounded = np.rint(images * 255).astype(np.uint8)
    fits = fit_surface(model, faces, crops, rounded, nets.camera)
    skin = visible_skin(rounded)
    guide = Guide(
      vertices=np.stack([fit.vertices for fit in fits]).astype(np.float32),
      pose=np.stack([fit.pose for fit in fits]).astype(np.float32),
      known=np.ones(len(fits), np.float32),
      skin=skin,
    )
    inside = [inside_photo(pixels, crop) for crop in crops]
    return _CoarseHeads(guide, fits, images, skin, inside)

  def _with_eyes_and_mouth(
    self, maps: dict[str, Float[np.ndarray, "n ..."]], coarse: _CoarseHeads
  ) -> Float[np.ndarray, "n s s 3"]:
    """Returns the diffuse maps with eyes and mouths as the photos show them.

    The networks see them too small to draw them.
    """
    template, camera = self.networks.head.template, self.reconstructor.camera
    plain = plain_diffuse(template, maps["diffuse"].shape[1])
    found = []
    for k, fit in enumerate(coarse.fits):
      colors = read_colors(
        *(coarse.images[k], coarse.skin[k], fit.vertices, fit.pose),
        *(template, camera, plain),
        inside=coarse.inside[k],
      )
      light = maps["light"][k] * maps["light_color"][k]
      found.append(with_eyes_and_mouth(maps["diffuse"][k], light, colors, template))
    return np.stack(found)

  def _solved_pose(
    self, position: Float[np.ndarray, "s s 3"], face: Face, crop: Crop
  ) -> Float[np.ndarray, " 6"]:
    """Returns the pose in which the predicted shape meets the detected landmarks."""
    px = warp.transform(crop.matrix, face.landmarks68)
    camera = self.reconstructor.camera
    return solve_pose(self._landmarks(position), px, camera, crop.size)

  def _residual(
    self,
    position: Float[np.ndarray, "s s 3"],
    pose: Float[np.ndarray, " 6"],
    face: Face,
    crop: Crop,
  ) -> float:
    """Returns how far landmarks are off, in percent of the interocular distance."""
    px = warp.transform(crop.matrix, face.landmarks68)
    camera = self.reconstructor.camera
    world = head_to_world(self._landmarks(position), pose)
    seen = np.asarray(world_to_px(world, camera, crop.size, crop.size))
    return float(landmark_errors(px[None], seen[None])[0][0])

  def _landmarks(
    self, position: Float[np.ndarray, "s s 3"]
  ) -> Float[np.ndarray, "68 3"]:
    """Returns the landmarks of a predicted shape, head space, dm."""
    nets = self.reconstructor
    vertices = uv.vertices_from_map(position, nets.table)
    return np.asarray(nets.template.landmark_positions(vertices))
