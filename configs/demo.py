"""All three stages at 64², for `make demo`: minutes on two CPU cores.

    python -m affjax.main --config=demo:stage1 --workdir=runs/demo
    python -m affjax.main --config=demo:stage2 --workdir=runs/demo
    python -m affjax.main --config=demo:stage3 --workdir=runs/demo

Hardware: two CPU cores, 3 GB of memory.
Time: not measured with these numbers of steps. 300 steps of stage 1 ran at 12 to 17
images a second on two shared cores of an AMD EPYC, beside other work.
Result: heads that lie on the photo, with the colors of its face; no fine detail.

Besides its size, this config has narrow networks; 600 samples, painted once and
shared by the stages; the architecture `guided`, which corrects a coarse head and reads
the photo where that head shows each texel; a global color of the light; the auxiliary
pose loss (see stage2.py); and shallow features.
"""

from ml_collections import ConfigDict

from affjax import build

_STEPS = {"stage1": 300, "stage2": 150, "stage3": 30}

# Joint training starts from heads that lie right; ours, not compared with others.
_LEARNING_RATE = {"stage1": 2e-3, "stage2": 2e-3, "stage3": 3e-4}


def get_config(stage: str = "stage1") -> ConfigDict:
  """Returns the config of one stage of the demo."""
  config = build.default_config()
  config.stage, config.steps = stage, _STEPS.get(stage, 1)
  config.model.architecture = "guided"
  config.model.size = 64
  config.model.position.width = 8
  config.model.diffuse.width = 16
  config.model.light.width = 8
  config.model.light.color = True
  config.model.discriminator.width = 16
  config.data.count = 600
  config.data.occluders = 0.15
  config.optimizer.learning_rate = _LEARNING_RATE.get(stage, 1e-3)
  config.optimizer.schedule = "cosine"
  config.data.cache = "workdir"
  config.loss.pose_l1 = 3.0
  config.features.layers = (1, 3)
  config.log.every = 25
  config.log.pictures_every = 0
  config.checkpoint.every = 200
  return config
