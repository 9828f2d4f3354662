"""Stage 2 of the paper: light, diffuse and pose network, through the renderer.

    python -m affjax.main --config=stage2 --workdir=runs/a

Starts from stage 1 of the same workdir.
Hardware: meant for one GPU of 24 GB or more, not tried.
Time: 112,500 updates of 8 photos; not measured on a GPU. With batch 1, an update takes
5.8 s of CPU time on one core of an AMD EPYC and 3.7 GB of memory
(experiments/results/paper_size.json).
Result: no whole stage has been trained at 512². In the small run of embedded.py
`image_l1`, `diffuse_l1` and `pose_l1` on held-out heads fall.

As in the paper: 30 epochs; λ_l1d = 1, λ_perc = 1, λ_sym = 0.3, λ_std = 1, λ_tv = 0.3,
L1 and perceptual loss on the diffuse maps that are known. Ours: an auxiliary loss on
the poses that are known, with weight 1. Synthetic heads turn by up to 60°, far more
than CelebA-HQ's, and from a pose that is wrong by that much the image loss alone does
not find back; `--config.loss.pose_l1=0` is the paper's.
"""

from ml_collections import ConfigDict

from affjax import build


def get_config() -> ConfigDict:
  """Returns the config of stage 2."""
  config = build.default_config()
  config.stage = "stage2"
  config.loss.pose_l1 = 1.0
  return config
