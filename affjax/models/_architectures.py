"""The named architectures of the position and the diffuse network.

To add a network, write its configuration and its module in a new file and add a row
here. The configuration is a frozen dataclass derived from `EncoderConfig`, whose
`build` makes a module that is called with `(images, alignment)` and returns three
channels of the size of the images.
"""

import dataclasses
from typing import Any

from affjax.models._affunet import AffUNetConfig
from affjax.models._encoder import EncoderConfig


@dataclasses.dataclass(frozen=True)
class Architecture:
  """One row of the registry.

  Attributes:
    config: The architecture's options, at their defaults; they know how to build it.
    help: One line for people.
  """

  config: EncoderConfig
  help: str


ARCHITECTURES = {
  "paper": Architecture(
    AffUNetConfig(), "11 layers, local predictors, matrices in the window frame"
  ),
  "paper_absolute": Architecture(
    AffUNetConfig(frame="absolute"), "the same, matrices in the paper's absolute frame"
  ),
  "paper_global": Architecture(
    AffUNetConfig(global_context=True),
    "paper with a fully connected bottleneck; not in the paper",
  ),
  "plain": Architecture(
    AffUNetConfig(affine=False), "plain convolutions only, the paper's ablation"
  ),
  "plain_global": Architecture(
    AffUNetConfig(affine=False, global_context=True),
    "plain with a fully connected bottleneck",
  ),
  "guided": Architecture(
    AffUNetConfig(prior="geometry"),
    "windows placed by position map and pose; not for the position network",
  ),
  "guided_global": Architecture(
    AffUNetConfig(prior="geometry", global_context=True),
    "guided with a fully connected bottleneck",
  ),
}


def configure_network(architecture: str, **options: Any) -> EncoderConfig:
  """Returns the configuration of a named architecture.

  Args:
    architecture: One of `ARCHITECTURES`.
    **options: Options that differ from the architecture's defaults.

  Raises:
    ValueError: The name or an option is unknown, or a value is impossible.
  """
  row = ARCHITECTURES.get(architecture)
  if row is None:
    raise ValueError(
      f"architecture must be one of {', '.join(ARCHITECTURES)}, got {architecture!r}"
    )
  known = [field.name for field in dataclasses.fields(row.config)]
  for name in options:
    if name not in known:
      raise ValueError(
        f"architecture {architecture!r} has no option {name!r}; it has "
        f"{', '.join(known)}"
      )
  return dataclasses.replace(row.config, **options)
