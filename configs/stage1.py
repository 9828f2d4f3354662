"""Stage 1 of the paper: the position network, on the position map alone.

    python -m affjax.main --config=stage1 --workdir=runs/a

Hardware: meant for one GPU of 12 GB or more, not tried; on a CPU use the config demo,
or shrink this one (`--config.model.size=128 --config.data.count=2000
--config.data.cache=workdir`).
Time: 75,000 updates of 8 photos; not measured on a GPU. With batch 1, an update takes
2.5 s of CPU time on one core of an AMD EPYC and 2.5 GB of memory
(experiments/results/paper_size.json).
Result: no whole stage has been trained at 512². `log.shapes_every` logs
the errors of held-out heads beside those of the mean head and of the guides.

As in the paper: the networks, Adam 1e-3 (0.9, 0.999), 20 epochs, 512², λ_l1p = 3. Ours:
synthetic heads in place of CelebA-HQ with fitted 3DMMs, batch 8, and gradients clipped
at norm 1. `--config.model.architecture=guided` in all three stages corrects a coarse
head instead.
"""

from ml_collections import ConfigDict

from affjax import build


def get_config() -> ConfigDict:
  """Returns the config of stage 1."""
  config = build.default_config()
  config.stage = "stage1"
  return config
