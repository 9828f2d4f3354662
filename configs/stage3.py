"""Stage 3 of the paper: all networks on all losses, against three discriminators.

    python -m affjax.main --config=configs/stage3.py --workdir=runs/a

Starts from stage 2 of the same workdir.
Hardware: one GPU of 24 GB or more.
Time: not measured yet at 512²; 150,000 updates of 8 photos.
Result: overlays that keep wrinkles and lashes where stage 2 smooths them.

As in the paper: 40 epochs, all terms of stage 1 and 2, λ_adv = 0.01. Discriminators:
Adam at a tenth of the learning rate, (0.5, 0.9), as in MeInGame. Ours: as in stage 2,
an auxiliary loss on known poses; `--config.loss.pose_l1=0` is the paper's.
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
  """The config of stage 3."""
  config = base.get_config()
  config.stage, config.epochs = "stage3", 40.0
  config.loss.pose_l1 = 1.0
  return config
