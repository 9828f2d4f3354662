"""The training losses of section 3.3 of the paper and of Unsup3D, a row each.

A loss function takes arrays and returns a `Mean` (sum and count apart). `TERMS` is the
table of losses: each row names a term and states its weight, its stages, what it needs
and how it is computed from a `Context`. `LossWeights`, the stages and the config
section `loss` derive from the table. `compute_terms` evaluates the rows that weigh
something and `weighted` adds them up.
"""

from affjax.losses._adversarial import adversarial_discriminator, adversarial_generator
from affjax.losses._auxiliary import diffuse_l1, diffuse_perceptual
from affjax.losses._confident import confident_l1, confident_perceptual
from affjax.losses._context import Context, Regions, make_regions
from affjax.losses._feature_space import perceptual
from affjax.losses._geometry import pose_l1, position_l1
from affjax.losses._mean import Mean, masked_l1, masked_mean
from affjax.losses._photometric import image_l1
from affjax.losses._regularization import deviation, symmetry, variation
from affjax.losses._table import TERMS, Need, Term
from affjax.losses._weights import LossWeights, compute_terms, weighted

__all__ = [
  "TERMS",
  "Context",
  "LossWeights",
  "Mean",
  "Need",
  "Regions",
  "Term",
  "adversarial_discriminator",
  "adversarial_generator",
  "compute_terms",
  "confident_l1",
  "confident_perceptual",
  "deviation",
  "diffuse_l1",
  "diffuse_perceptual",
  "image_l1",
  "make_regions",
  "masked_l1",
  "masked_mean",
  "perceptual",
  "pose_l1",
  "position_l1",
  "symmetry",
  "variation",
  "weighted",
]
