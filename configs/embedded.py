"""The networks that come with the package, trained at 128².

    python -m affjax.main --config=embedded:stage1 --workdir=runs/embedded
    python -m affjax.main --config=embedded:stage2 --workdir=runs/embedded
    python -m experiments.training.embedded runs/embedded

Hardware: one of two shared cores of an AMD EPYC, 3.5 GB of memory.
Time: 246 s and 46 minutes; 7.4 and 4.5 images a second.
Result, on 32 held-out heads before and after: `position_l1` 0.0160 and 0.0160 in stage
1; `image_l1` 0.0213 and 0.0197, `diffuse_l1` 0.192 and 0.089, `pose_l1` 0.165 and 0.146
in stage 2 (experiments/results/embedded_stage1.jsonl, embedded_stage2.jsonl).
affjax/assets/MODEL_CARD.md compares them with `affjax fit`.

`embedded:stage3` was trained from them for 500 updates (626 s, embedded_stage3.jsonl)
and is not shipped: `position_l1` rose from 0.0160 to 0.0206, perhaps
since the losses of the image move the shape, and `diffuse_l1` and `image_l1` by 2 %.

Guided networks of narrow layers (2.4 million weights) with a global color of the light,
batches of 4, seed 0, 3,000 synthetic heads whose photos change in brightness, contrast,
saturation and gamma, so that exposure goes to the light; a moving average of the
weights; the auxiliary pose loss (see stage2.py); shallow features.
"""

from ml_collections import ConfigDict

from affjax import build

_STEPS = {"stage1": 400, "stage2": 3000, "stage3": 500}
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
  config.ema = 0.999
  config.loss.pose_l1 = 3.0
  config.features.layers = (1, 3)
  config.log.every = 25
  config.log.pictures_every = 0
  config.checkpoint.every = 200
  return config
