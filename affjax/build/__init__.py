"""From a config to the parts: the only place that reads a `ConfigDict`.

`default_config` derives a config from the dataclasses that hold the defaults, and
`get_config` loads one of `configs/`. `task` makes one stage ready to train; `load_run`
makes a trained workdir ready to use. Other packages take plain arguments.
"""

from affjax.build._configs import (
  UserError,
  config_file,
  config_help,
  default_config,
  get_config,
  read_config,
)
from affjax.build._networks import reconstructor, unsup3d
from affjax.build._options import Options
from affjax.build._parts import learner, sources, stage, task
from affjax.build._replay import replay
from affjax.build._run import (
  EMBEDDED,
  Run,
  Unsup3DRun,
  load_run,
  load_unsup3d,
  save_embedded,
)

__all__ = [
  "EMBEDDED",
  "Options",
  "Run",
  "Unsup3DRun",
  "UserError",
  "config_file",
  "config_help",
  "default_config",
  "get_config",
  "learner",
  "load_run",
  "load_unsup3d",
  "read_config",
  "reconstructor",
  "replay",
  "save_embedded",
  "sources",
  "stage",
  "task",
  "unsup3d",
]
