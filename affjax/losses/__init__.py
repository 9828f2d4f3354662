"""The training losses of the paper's section 3.3, one function a term.

Every term returns a `Mean` (sum and count apart); `weighted` turns named terms into the
training loss. `LossWeights` holds the paper's weights.
"""

from affjax.losses._adversarial import adversarial_discriminator, adversarial_generator
from affjax.losses._auxiliary import diffuse_l1, diffuse_perceptual
from affjax.losses._feature_space import perceptual
from affjax.losses._geometry import pose_l1, position_l1
from affjax.losses._mean import Mean, masked_l1, masked_mean
from affjax.losses._photometric import image_l1
from affjax.losses._regularization import deviation, symmetry, variation
from affjax.losses._total import TERM_NAMES, LossWeights, weighted

__all__ = [
  "TERM_NAMES",
  "LossWeights",
  "Mean",
  "adversarial_discriminator",
  "adversarial_generator",
  "deviation",
  "diffuse_l1",
  "diffuse_perceptual",
  "image_l1",
  "masked_l1",
  "masked_mean",
  "perceptual",
  "pose_l1",
  "position_l1",
  "symmetry",
  "variation",
  "weighted",
]
