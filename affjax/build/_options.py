"""The options of a training run: one tree of frozen dataclasses.

A default stands in the dataclass that uses it; this tree only puts them together. The
config, its check and its help derive from the tree.
"""

import dataclasses
from collections.abc import Mapping

from affjax.data import Ranges
from affjax.losses import LossWeights
from affjax.models import (
  EncoderConfig,
  LightNetConfig,
  MultiScaleDiscriminator,
  Networks,
  PoseNetConfig,
)
from affjax.models.unsup3d import Unsup3DConfig
from affjax.train.discriminators import R1Penalty
from affjax.train.loop import Log
from affjax.train.optimizers import Adam
from affjax.train.retention import Checkpointing
from affjax.train.sharding import MeshShape
from affjax.types import Camera

SHARED = ("backend", "dtype")
"""Options of networks that one top-level option sets for all of them."""


@dataclasses.dataclass(frozen=True)
class Model:
  """The head and its networks.

  Attributes:
    template: Head whose vertices are predicted: "embedded", or a path that
      `affjax.heads.open_head` takes.
    architecture: Kind of the networks: "paper" (section 3.4.4), "paper_absolute",
      "plain", "plain_global", "plain_dilated", "deformable", or "guided", ours, which
      corrects a coarse head; see `affjax.models.ARCHITECTURES`.
    size: Side of photos and UV maps, px; light maps have an eighth of it.
    camera: Camera of the photos.
    position: Position network.
    diffuse: Diffuse network.
    light: Light network.
    pose: Pose network.
    discriminator: Discriminator of stage 3.
    unsup3d: The networks of the stage "unsup3d", which trains no others.
  """

  template: str = "embedded"
  architecture: str = Networks.architecture
  size: int = Networks.size
  camera: Camera = Camera()  # noqa: RUF009
  position: EncoderConfig = EncoderConfig()  # noqa: RUF009
  diffuse: EncoderConfig = EncoderConfig()  # noqa: RUF009
  light: LightNetConfig = LightNetConfig()  # noqa: RUF009
  pose: PoseNetConfig = PoseNetConfig()  # noqa: RUF009
  discriminator: MultiScaleDiscriminator = MultiScaleDiscriminator()  # noqa: RUF009
  unsup3d: Unsup3DConfig = Unsup3DConfig()  # noqa: RUF009


@dataclasses.dataclass(frozen=True)
class MixturePart:
  """One part of a mixture of data sources.

  Attributes:
    source: Kind of data, as in `data.source`.
    path: Folder or data set of the part.
    weight: Share of the part in the batches.
  """

  source: str = "synthetic"
  path: str = ""
  weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class Data:
  """The training data.

  Attributes:
    source: Kind of data: "synthetic" heads, a "folder" of photos, a "prepared" data
      set (of `affjax prepare`), or "mixed".
    path: Folder or data set.
    mixture: Parts of the source "mixed", by any names.
    count: Number of synthetic heads; the default is the number of CelebA-HQ's photos.
    held_out: Number of samples for evaluation and pictures, never trained on.
    batch_size: Number of photos in a batch, over all devices; our choice.
    seed: Seed of synthetic heads.
    mirror: Whether half of the photos are flipped.
    occluders: Chance of something in front of a synthetic face, in [0, 1].
    backgrounds: Folder of photos for synthetic backgrounds, or empty.
    augment: Changes of the photos' colors and sharpness. All are off, as in the paper:
      losses that compare a render with the photo's colors see the changed photo, and
      known diffuse maps keep their colors.
    cache: Folder for computed samples, or empty; "workdir" = inside the workdir.
    threads: Number of threads that read samples.
  """

  source: str = "synthetic"
  path: str = ""
  mixture: Mapping[str, MixturePart] = dataclasses.field(
    default_factory=lambda: {
      "photos": MixturePart("prepared", weight=0.9),
      "heads": MixturePart("synthetic", weight=0.1),
    }
  )
  count: int = 30000
  held_out: int = 8
  batch_size: int = 8
  seed: int = 0
  mirror: bool = True
  occluders: float = 0.35
  backgrounds: str = ""
  augment: Ranges = Ranges()  # noqa: RUF009
  cache: str = ""
  threads: int = 2


@dataclasses.dataclass(frozen=True)
class Features:
  """The network of the perceptual losses.

  Attributes:
    weights: "embedded", or a file of torchvision's VGG19 or VGG16 (.pth, .safetensors).
    layers: Numbers of the convolutions that count, from 1; empty = the first of each
      block.
  """

  weights: str = "embedded"
  layers: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Options:
  """All options of a training run.

  Attributes:
    stage: Stage to train: "stage1", "stage2" or "stage3" of the paper, or "unsup3d",
      which trains another method (docs/unsup3d.md).
    epochs: Number of times that each sample is seen; 0 = the paper's for the stage.
    steps: Number of updates, whatever `epochs` says; 0 = by `epochs`.
    seed: Seed of weights and of the order of the samples.
    init_from: Workdir whose weights to start from, or empty.
    resume: How to continue a stage that has a checkpoint: "auto" = with the settings
      that it was begun with, "force" = with these settings, whatever they were.
    mesh: The devices that share a batch.
    accumulate: Number of parts in which a batch goes through the networks, one after
      the other: less memory for one more forward pass, and the same result.
    ema: Decay of a moving average of the trained weights, such as 0.999, in [0, 1);
      0 = none. Evaluation, pictures, checkpoints' weights and later stages use it.
    dtype: Type of the arithmetic inside the networks, "float32" or "bfloat16".
    affine_backend: Backend of the affine convolutions.
    antialias: Whether gradients pass through silhouettes. Off is the paper's renderer:
      gradients through silhouettes drag heads whose texture is still wrong off their
      place (docs/losses.md).
    mirror_supervision: Whether each photo is supervised with its mirror image, as in
      MeInGame.
    model: The head and its networks.
    data: The training data.
    optimizer: The optimizer.
    r1: The penalty on the discriminator's slope.
    loss: The weight of each loss term.
    features: The network of the perceptual losses.
    log: The log.
    checkpoint: The checkpoints.
  """

  stage: str = "stage1"
  epochs: float = 0.0
  steps: int = 0
  seed: int = 0
  init_from: str = ""
  resume: str = "auto"
  mesh: MeshShape = MeshShape()  # noqa: RUF009
  accumulate: int = 1
  ema: float = 0.0
  dtype: str = EncoderConfig.dtype
  affine_backend: str = EncoderConfig.backend
  antialias: bool = False
  mirror_supervision: bool = False
  model: Model = Model()
  data: Data = Data()
  optimizer: Adam = Adam()  # noqa: RUF009
  r1: R1Penalty = R1Penalty()  # noqa: RUF009
  loss: LossWeights = LossWeights()  # noqa: RUF009
  features: Features = Features()
  log: Log = Log()  # noqa: RUF009
  checkpoint: Checkpointing = Checkpointing()  # noqa: RUF009

  def __post_init__(self):
    if self.accumulate < 1:
      raise ValueError(f"accumulate must be at least 1, got {self.accumulate}")
    if not 0 <= self.ema < 1:
      raise ValueError(f"ema must lie in [0, 1), got {self.ema}")
