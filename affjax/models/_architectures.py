"""The named architectures of the networks.

To add one, write the module of its position and diffuse network in a new file and add a
row here. The module is called with `(images, alignment)` and returns maps of the size
of the images.
"""

import functools

from affjax.models import _params
from affjax.models._affunet import AffUNet
from affjax.models._encoder import Architecture, EncoderConfig

# A fully connected bottleneck costs 0.43 million parameters; seven eighths of the
# channels save about as many.
_WITH_CONTEXT = 7 / 8

ARCHITECTURES = {
  "paper": Architecture(
    "section 3.4.4: 11 layers, local predictors, matrices in the window frame", AffUNet
  ),
  "paper_absolute": Architecture(
    "paper with matrices in the absolute frame of equation 2",
    AffUNet,
    layers="absolute",
  ),
  "plain": Architecture(
    "plain convolutions only, the paper's ablation", AffUNet, layers="plain"
  ),
  "plain_global": Architecture(
    "plain with a fully connected bottleneck",
    AffUNet,
    layers="plain",
    context=True,
    share=_WITH_CONTEXT,
  ),
  "plain_dilated": Architecture(
    "plain with the fixed dilations 1, 4, 4 in layers 2 to 4", AffUNet, layers="dilated"
  ),
  "deformable": Architecture(
    "18 free offsets a window in place of six numbers", AffUNet, layers="deformable"
  ),
  "guided": Architecture(
    "ours: windows where a coarse head shows each texel, maps that correct it and the "
    "photo",
    AffUNet,
    context=True,
    guided=True,
    share=_WITH_CONTEXT,
  ),
}


def architecture(name: str) -> Architecture:
  """Returns a named architecture.

  Raises:
    ValueError: The name is not one of `ARCHITECTURES`.
  """
  if name not in ARCHITECTURES:
    raise ValueError(
      f"architecture must be one of {', '.join(ARCHITECTURES)}, got {name!r}"
    )
  return ARCHITECTURES[name]


@functools.lru_cache(maxsize=64)
def define(
  row: Architecture, config: EncoderConfig, outputs: int = 3
) -> _params.Definition:
  """Returns a position or diffuse network without its numbers.

  Args:
    row: The architecture.
    config: Options of the network.
    outputs: Number of channels of its maps.
  """
  return _params.define(
    lambda rngs: row.network(config, row, outputs=outputs, rngs=rngs)
  )
