"""Stage 3 of the paper: all networks on all losses, with a discriminator.

    python -m affjax.main --config=stage3 --workdir=runs/a

Starts from stage 2 of the same workdir.
Hardware: meant for one GPU of 24 GB or more, not tried.
Time: 150,000 updates of 8 photos; not measured on a GPU. With batch 1, an update takes
9.7 s of CPU time on one core of an AMD EPYC and 5.3 GB of memory
(experiments/results/paper_size.json).
Result: no whole stage has been trained at 512².

As in the paper: 40 epochs, all terms of stages 1 and 2, λ_adv = 0.01, a discriminator
at three scales. Ours: its Adam at a tenth of the learning rate, (0.5, 0.9), as in
MeInGame, and an auxiliary loss on known poses as in stage 2;
`--config.loss.pose_l1=0` is the paper's.
"""

from ml_collections import ConfigDict

from affjax import build


def get_config() -> ConfigDict:
  """Returns the config of stage 3."""
  config = build.default_config()
  config.stage = "stage3"
  config.loss.pose_l1 = 1.0
  return config
