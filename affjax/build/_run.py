"""A trained workdir, ready to use."""

import dataclasses
import pathlib

from affjax.build import _configs, _parts
from affjax.build._configs import UserError
from affjax.build._options import Options
from affjax.heads import MorphableModel, open_head
from affjax.models import Reconstructor
from affjax.train import workdir
from affjax.train.checkpoint import Checkpoints
from affjax.train.states import Params
from affjax.train.workdir import WorkdirError


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """A trained workdir.

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
    """The model of the head whose template the networks predict."""
    return open_head(self.config.model.template)


def load_run(root: str | pathlib.Path, *, best: bool = False) -> Run:
  """Loads the weights of a workdir's last stage, with the networks they belong to.

  Args:
    root: A workdir, or the folder of one of its stages.
    best: Whether to load the checkpoint of the stage whose held-out samples have the
      lowest `config.checkpoint.metric`, instead of the newest one.

  Raises:
    ValueError: There is no checkpoint, or it is damaged or of another architecture.
  """
  folder = workdir.latest_stage(pathlib.Path(root))
  if folder is None:
    raise WorkdirError(
      f"{root} holds no weights: train it first, python -m affjax.main "
      f"--config=stage1 --workdir={root}"
    )
  path = folder / workdir.CONFIG
  try:
    options = _configs.read_config(workdir.read_json(path))
  except UserError as error:
    raise WorkdirError(f"{path} is not a whole config: {error}") from error
  networks = _parts.reconstructor(options)
  shapes = {name: net.shapes for name, net in networks.definitions.items()}
  with Checkpoints(folder) as checkpoints:
    params, step, meta = checkpoints.restore_params(shapes, best=best)
  trained = meta.get("trained", list(params))
  untrained = tuple(name for name in params if name not in trained)
  return Run(options, networks, params, step, folder.name, untrained)
