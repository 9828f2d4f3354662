"""Makes a failed step of training again."""

import pathlib

from affjax.build import _configs, _networks, _parts
from affjax.build._configs import UserError
from affjax.train import failures


def replay(folder: str | pathlib.Path) -> dict[str, float]:
  """Makes the step again at which a loss or gradient was not finite.

  Args:
    folder: Folder of the failure, such as `runs/a/stage3/failed/1234`. Nothing is
      written.

  Returns:
    All scalars of the step; of each loss term its weight λ and the norm of its
    gradient; and the statistics of light and albedo.

  Raises:
    UserError: The folder holds no failure, or one of another version.
  """
  folder = pathlib.Path(folder)
  try:
    failure = failures.read(folder)
    options = _configs.read_config(_configs.completed(failure.config))
    parts = _parts.checked_parts(options)
    learner = _parts.learner_of(
      options, parts.stage, parts.networks, failure.total_steps
    )
    like = _parts.fresh_state(
      options, learner, _networks.fresh_params(options, parts.networks)
    )
    return failures.replay(
      failure, folder, learner, like, parts.feature_net, parts.mesh
    )
  except ValueError as error:
    raise UserError(str(error)) from error
