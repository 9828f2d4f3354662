"""The four networks, the discriminators, feature networks, and `Reconstructor`."""

from affjax.models._affunet import AffUNetConfig, GlobalContext
from affjax.models._alignment import Alignment
from affjax.models._discriminator import MultiScaleDiscriminator
from affjax.models._features import FeatureNet, extract_features, load_features
from affjax.models._light import LightNetConfig
from affjax.models._pose import PoseNetConfig
from affjax.models._reconstructor import NETWORKS, Networks, Reconstructor

__all__ = [
  "NETWORKS",
  "AffUNetConfig",
  "Alignment",
  "FeatureNet",
  "GlobalContext",
  "LightNetConfig",
  "MultiScaleDiscriminator",
  "Networks",
  "PoseNetConfig",
  "Reconstructor",
  "extract_features",
  "load_features",
]
