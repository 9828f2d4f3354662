"""Unsup3D (Wu et al. 2020): the shape of faces from photos alone, at 64².

    python -m affjax.main --config=unsup3d --workdir=runs/unsup3d \
      --config.data.source=folder --config.data.path=PHOTOS
    python -m affjax.main --config=unsup3d:affine --workdir=runs/unsup3d_affine ...

`PHOTOS` is a folder of cropped photos; the default is synthetic heads, of which only
the photo is looked at. `affine` is the variant of AffUNet's figure 8: the second
convolutions of the depth and the albedo network are affine ones.

Hardware: one GPU of 8 GB or more.
Time: not measured; for CelebA, 76,000 updates of 64 photos.
Result: not measured. `experiments/unsup3d` trains small pairs and evaluates SIDE and
MAD. See docs/unsup3d.md.

As published for CelebA: networks, 64 px, depths 0.9 to 1.1, field of view 10°, views of
up to 60°, weights 1 and 0.5 of the mirrored face, Adam 1e-4 with weight decay 5e-4,
batch 64, 30 epochs, no augmentation. Ours: VGG16 of an edge detector in place of
ImageNet's (docs/losses.md), pixels that are not half a pixel off, normally distributed
first weights, and Unsup3D's own camera for synthetic photos.
"""

from ml_collections import ConfigDict

from affjax import build
from affjax.geometry import depth
from affjax.types import Camera

_VARIANTS = ("original", "affine")


def get_config(variant: str = "original") -> ConfigDict:
  """Returns the config of Unsup3D, "original" or "affine"."""
  if variant not in _VARIANTS:
    raise ValueError(f"variant must be one of {', '.join(_VARIANTS)}, got {variant!r}")
  config = build.default_config()
  config.stage = "unsup3d"
  config.model.size = 64
  config.model.unsup3d.affine = variant == "affine"
  camera = depth.camera(Camera(), config.model.size)
  config.model.camera.fov_deg = camera.fov_deg
  config.model.camera.distance = camera.distance
  config.data.batch_size = 64
  config.data.occluders = 0.0
  config.data.mirror = False
  config.features.layers = (7,)
  config.optimizer.learning_rate = 1e-4
  config.optimizer.weight_decay = 5e-4
  config.optimizer.clip_norm = 0.0
  return config
