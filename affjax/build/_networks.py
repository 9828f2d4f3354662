"""The networks of a stage, made from options."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ml_collections import ConfigDict

from affjax.build import _configs
from affjax.build._configs import UserError
from affjax.build._options import Options
from affjax.heads import open_head
from affjax.losses import Need
from affjax.models import (
  FeatureNet,
  MultiScaleDiscriminator,
  Networks,
  Reconstructor,
  load_features,
)
from affjax.models.unsup3d import Scene, Unsup3D
from affjax.ops import AFFINE_BACKENDS
from affjax.train.stages import UNSUP3D, Stage
from affjax.train.states import Params
from affjax.types import Prediction

Config = ConfigDict | Mapping[str, Any] | Options


def reconstructor(config: Config) -> Reconstructor:
  """Returns the four networks with their head and their camera."""
  options = _configs.read_config(config)
  model = options.model
  dtype = {"dtype": options.dtype}
  shared = {**dtype, "backend": options.affine_backend}
  with section("model.position"):
    position = dataclasses.replace(model.position, **shared)
  with section("model.diffuse"):
    diffuse = dataclasses.replace(model.diffuse, **shared)
  with section("model.light"):
    light = dataclasses.replace(model.light, **shared)
  with section("model.pose"):
    pose = dataclasses.replace(model.pose, **dtype)
  with section("model"):
    head = open_head(model.template)
    found = Reconstructor(
      template=head.template,
      camera=model.camera,
      networks=Networks(model.size, model.architecture, position, diffuse, light, pose),
      vertex_std=head.vertex_std(),
    )
    # Built on first use; some values are refused only then.
    found.definitions  # noqa: B018
    return found


def require_networks(options: Options) -> None:
  """Raises a UserError if the networks are of no known kind or of a wrong size."""
  with section("model"):
    Networks(options.model.size, options.model.architecture)


def require_head(options: Options) -> None:
  """Raises a UserError if the head cannot be opened."""
  with section("model"):
    open_head(options.model.template)


def require_arithmetic(options: Options) -> None:
  """Raises a UserError if the type or the backend of the arithmetic is unknown."""
  known = {"dtype": ("float32", "bfloat16"), "affine_backend": AFFINE_BACKENDS}
  wrong = [
    f"config.{name} must be one of {', '.join(names)}, got {getattr(options, name)!r}"
    for name, names in known.items()
    if getattr(options, name) not in names
  ]
  if wrong:
    raise UserError("; ".join(wrong))


def unsup3d(config: Config) -> Unsup3D:
  """Returns the networks of the stage "unsup3d"."""
  options = _configs.read_config(config)
  model = options.model
  with section("model.unsup3d"):
    return Unsup3D(
      dataclasses.replace(model.unsup3d, backend=options.affine_backend), model.size
    )


def result(
  options: Options, networks: Reconstructor
) -> Callable[..., Prediction | Scene]:
  """Returns the function from weights and photos to what the losses look at."""
  if options.stage != UNSUP3D:
    return networks
  model = unsup3d(options)
  return lambda params, images, **_: model(params, images)


def fresh_params(options: Options, networks: Reconstructor) -> Params:
  """Returns fresh weights of the networks that the stage trains or uses."""
  if options.stage == UNSUP3D:
    return unsup3d(options).init(options.seed)
  return networks.init(options.seed)


def discriminator(options: Options) -> MultiScaleDiscriminator:
  """Returns the discriminator."""
  with section("model.discriminator"):
    return dataclasses.replace(options.model.discriminator, dtype=options.dtype)


def feature_net(options: Options, this: Stage) -> FeatureNet | None:
  """Returns the feature network if a loss needs it."""
  if not this.requires(Need.FEATURES):
    return None
  features = options.features
  with section("features"):
    return load_features(
      features.weights, layers=features.layers or None, dtype=options.dtype
    )


@contextmanager
def section(name: str) -> Iterator[None]:
  """Names the section of the config whose value is refused inside the block."""
  try:
    yield
  except ValueError as error:
    raise UserError(f"config.{name}: {error}") from error
