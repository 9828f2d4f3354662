"""The networks, and the `Reconstructor` that makes heads of photos with them.

`ARCHITECTURES` names the kinds of networks that a config can choose.
"""

from affjax.models._affunet import AffUNet, GlobalContext
from affjax.models._alignment import Alignment
from affjax.models._architectures import ARCHITECTURES, architecture
from affjax.models._discriminator import MultiScaleDiscriminator
from affjax.models._encoder import Architecture, EncoderConfig
from affjax.models._features import FeatureNet, extract_features, load_features
from affjax.models._identity import (
  IdentityNet,
  extract_identity,
  identity_alignment,
  load_identity,
)
from affjax.models._light import LightNetConfig
from affjax.models._pose import PoseNetConfig
from affjax.models._reconstructor import NETWORKS, Networks, Reconstructor

__all__ = [
  "ARCHITECTURES",
  "NETWORKS",
  "AffUNet",
  "Alignment",
  "Architecture",
  "EncoderConfig",
  "FeatureNet",
  "GlobalContext",
  "IdentityNet",
  "LightNetConfig",
  "MultiScaleDiscriminator",
  "Networks",
  "PoseNetConfig",
  "Reconstructor",
  "architecture",
  "extract_features",
  "extract_identity",
  "identity_alignment",
  "load_features",
  "load_identity",
]
