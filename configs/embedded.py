"""The networks that travel in the package: guided ones, trained at 128²."""

from ml_collections import ConfigDict

from affjax import build

_STEPS = {"stage1": 400, "stage2": 2000, "stage3": 500}
_LEARNING_RATE = {"stage1": 1e-3, "stage2": 2e-3, "stage3": 3e-4}


def get_config(stage: str = "stage1") -> ConfigDict:
  """Returns the config of one stage."""
  config = build.default_config()
  config.stage, config.steps = stage, _STEPS.get(stage, 1)
  config.model.architecture = "guided"
  config.model.size = 128
  config.model.position.width = 16
  config.model.diffuse.width = 16
  config.model.light.width = 16
  config.model.light.color = True
  config.model.discriminator.width = 16
  config.data.count = 3000
  config.data.held_out = 32
  config.data.batch_size = 4
  config.data.cache = "workdir"
  config.data.augment.brightness = 0.5
  config.data.augment.contrast = 0.2
  config.data.augment.saturation = 0.3
  config.data.augment.gamma = 0.2
  config.optimizer.learning_rate = _LEARNING_RATE.get(stage, 1e-3)
  config.optimizer.schedule = "cosine"
  config.loss.pose_l1 = 3.0
  config.features.layers = (1, 3)
  config.log.every = 25
  config.log.pictures_every = 0
  config.checkpoint.every = 200
  return config
