"""Trained networks, ready to use: of a workdir, or those of the package."""

import dataclasses
import json
import pathlib
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from affjax import files
from affjax.assets import store
from affjax.build import _configs, _networks
from affjax.build._configs import UserError
from affjax.build._options import Options
from affjax.heads import MorphableModel, open_head
from affjax.models import Reconstructor
from affjax.models.unsup3d import Unsup3D
from affjax.train import checkpoint, workdir
from affjax.train.checkpoint import Checkpoints
from affjax.train.stages import UNSUP3D
from affjax.train.states import Params
from affjax.train.workdir import WorkdirError


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """Trained networks.

  Attributes:
    config: Options of its last stage.
    reconstructor: Networks: `run.reconstructor(run.params, images) -> Prediction`.
    params: Weights of the four networks.
    step: Number of updates of the last stage so far.
    stage: Name of the last stage that has a checkpoint.
    untrained: Networks whose weights no stage has trained so far.
  """

  config: Options
  reconstructor: Reconstructor
  params: Params
  step: int
  stage: str
  untrained: tuple[str, ...] = ()

  @property
  def head(self) -> MorphableModel:
    """Head model whose vertices are predicted."""
    return open_head(self.config.model.template)


EMBEDDED = "embedded"
"""Name of the weights that come with the package."""

_ASSET = "networks"


def load_run(root: str | pathlib.Path = EMBEDDED, *, best: bool = False) -> Run:
  """Loads the weights of a workdir's last stage, with the networks they belong to.

  Args:
    root: A workdir, the folder of one of its stages, or "embedded" for the weights that
      come with the package (MODEL_CARD.md).
    best: Whether to load the checkpoint of the stage whose held-out samples have the
      lowest `config.checkpoint.metric`, instead of the newest one.

  Raises:
    ValueError: There is no checkpoint, or it is damaged or of another architecture; or
      the best of the package's weights is asked for.
  """
  if str(root) == EMBEDDED:
    if best:
      raise ValueError("best chooses a checkpoint of a workdir; embedded has one")
    return _embedded()
  folder = workdir.latest_stage(pathlib.Path(root))
  if folder is None:
    raise WorkdirError(
      f"{root} holds no weights: train it first, python -m affjax.main "
      f"--config=stage1 --workdir={root}"
    )
  if folder.name == UNSUP3D:
    raise WorkdirError(
      f"{root} holds networks of Unsup3D, which make no heads; load them with "
      "affjax.build.load_unsup3d"
    )
  options = _options_of(folder)
  networks = _networks.reconstructor(options)
  shapes = {name: net.shapes for name, net in networks.definitions.items()}
  with Checkpoints(folder) as checkpoints:
    params, step, meta = checkpoints.restore_params(shapes, best=best)
  trained = meta.get("trained", list(params))
  untrained = tuple(name for name in params if name not in trained)
  return Run(options, networks, params, step, folder.name, untrained)


@dataclasses.dataclass(frozen=True, eq=False)
class Unsup3DRun:
  """Trained networks of Unsup3D.

  Attributes:
    config: Options of the run.
    model: Networks: `run.model(run.params, images) -> Scene`.
    params: Weights of the five networks.
    step: Number of updates so far.
  """

  config: Options
  model: Unsup3D
  params: Params
  step: int


def load_unsup3d(root: str | pathlib.Path, *, best: bool = False) -> Unsup3DRun:
  """Loads the newest weights of Unsup3D in a workdir.

  Args:
    root: The workdir.
    best: Whether to load the checkpoint with the lowest `config.checkpoint.metric`.

  Raises:
    ValueError: There is no checkpoint, or it is damaged or of another architecture.
  """
  folder = workdir.stage_folder(pathlib.Path(root), UNSUP3D)
  if not checkpoint.exists(folder):
    raise WorkdirError(
      f"{root} holds no weights of Unsup3D: train it first, python -m affjax.main "
      f"--config=unsup3d --workdir={root}"
    )
  options = _options_of(folder)
  model = _networks.unsup3d(options)
  shapes = {name: net.shapes for name, net in model.definitions.items()}
  with Checkpoints(folder) as checkpoints:
    params, step, _ = checkpoints.restore_params(shapes, best=best)
  return Unsup3DRun(options, model, params, step)


def _options_of(folder: pathlib.Path) -> Options:
  """Returns the options that a stage of a workdir was trained with."""
  path = folder / workdir.CONFIG
  try:
    return _configs.read_config(_configs.completed(workdir.read_json(path)))
  except UserError as error:
    raise WorkdirError(f"{path} is not a whole config: {error}") from error


def save_embedded(run: Run, folder: pathlib.Path) -> None:
  """Writes networks as the package holds them: a `.json` and a `.safetensors` file.

  Args:
    run: Networks whose weights are all trained; they are rounded to float16.
    folder: Folder of the two files.
  """
  about = {
    "config": _configs.to_json(run.config),
    "step": run.step,
    "stage": run.stage,
    "untrained": list(run.untrained),
  }
  files.write_json(folder / f"{_ASSET}.json", about)
  flat = jax.tree_util.tree_leaves_with_path(run.params)
  tensors = {_name(path): np.asarray(value, np.float16) for path, value in flat}
  files.write_file(folder / f"{_ASSET}.safetensors", safetensors.numpy.save(tensors))


def _embedded() -> Run:
  """Returns the networks that come with the package."""
  about = json.loads(store.read_asset(f"{_ASSET}.json"))
  tensors = safetensors.numpy.load(store.read_asset(f"{_ASSET}.safetensors"))
  options = _configs.read_config(_configs.completed(about["config"]))
  networks = _networks.reconstructor(options)
  shapes = {name: net.shapes for name, net in networks.definitions.items()}
  for path, shape in jax.tree_util.tree_leaves_with_path(shapes):
    tensor = tensors.get(_name(path))
    if tensor is None or tensor.shape != shape.shape:
      raise UserError(f"embedded weights are of another architecture: {_name(path)}")
  params = jax.tree_util.tree_map_with_path(
    lambda path, _: tensors[_name(path)].astype(np.float32), shapes
  )
  # `jnp.asarray` would compile a program for each shape.
  params = jax.device_put(params)
  untrained = tuple(about["untrained"])
  return Run(options, networks, params, about["step"], about["stage"], untrained)


def _name(path: Any) -> str:
  """Returns the name of a tensor."""
  return "/".join(str(key.key) for key in path)
