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
from affjax.build._options import Options
from affjax.build._parts import learner, reconstructor, sources, stage, task
from affjax.build._replay import replay
from affjax.build._run import EMBEDDED, Run, load_run, save_embedded

__all__ = [
  "EMBEDDED",
  "Options",
  "Run",
  "UserError",
  "config_file",
  "config_help",
  "default_config",
  "get_config",
  "learner",
  "load_run",
  "read_config",
  "reconstructor",
  "replay",
  "save_embedded",
  "sources",
  "stage",
  "task",
]
