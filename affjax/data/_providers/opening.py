"""Opens the provider of geometry that the options of a preparation name."""

import hashlib
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from affjax.data._preparation.options import PrepareOptions
from affjax.data._providers.deep3d import Deep3DProvider
from affjax.data._providers.fit import FitProvider, fit_landmarks
from affjax.data._providers.interface import Provider
from affjax.data._providers.precomputed import PrecomputedProvider
from affjax.data._providers.synthetic import SyntheticProvider, painted_faces
from affjax.faces import fit_surface
from affjax.heads import Retargeter, open_head
from affjax.models import deep3d
from affjax.types import Camera


def open_provider(options: PrepareOptions) -> Provider:
  """Returns the provider that the options name.

  Raises:
    ValueError: A file that it needs is missing or cannot be used.
  """
  return _OPENERS[options.provider](options)


def _fit(options: PrepareOptions) -> Provider:
  return FitProvider(open_head(options.template), Camera(), fit_landmarks)


def _surface(options: PrepareOptions) -> Provider:
  return FitProvider(open_head(options.template), Camera(), fit_surface, name="surface")


def _precomputed(options: PrepareOptions) -> Provider:
  if options.geometry is None:
    raise ValueError("provider 'precomputed' needs --geometry, a folder of results")
  template = open_head(options.template).template
  return PrecomputedProvider(options.geometry, template, Camera())


def _synthetic(options: PrepareOptions) -> Provider:
  return SyntheticProvider(painted_faces(options.template, options.size, options.seed))


def _deep3d(options: PrepareOptions) -> Provider:
  """Deep3D's network and its BFM, retargeted unless the template is that BFM."""
  if options.model is None or options.weights is None:
    raise ValueError(
      "provider 'deep3d' needs --model (BFM_model_front.mat) and --weights "
      "(epoch_20.pth)"
    )
  network, model = deep3d.load(options.weights), open_head(options.model)
  template, retarget = None, None
  if pathlib.Path(options.template) != options.model:
    template = open_head(options.template).template
    retarget = jax.jit(Retargeter(model.template, template).__call__)

  @jax.jit
  def coefficients(images: jax.Array) -> tuple[jax.Array, jax.Array]:
    found = deep3d.predict(network, images)
    return found.identity, found.expression

  def alignment(px: np.ndarray, head: np.ndarray) -> np.ndarray:
    return deep3d.alignment(deep3d.five_points(px), deep3d.five_points(head))

  return Deep3DProvider(
    model,
    Camera(),
    regressor=lambda images: coefficients(jnp.asarray(images)),
    alignment=alignment,
    retarget=retarget,
    template=template,
    files={
      "model_sha256": _sha256(options.model),
      "weights_sha256": _sha256(options.weights),
    },
  )


_OPENERS: dict[str, Callable[[PrepareOptions], Provider]] = {
  "surface": _surface,
  "fit": _fit,
  "deep3d": _deep3d,
  "precomputed": _precomputed,
  "synthetic": _synthetic,
}


def _sha256(path: pathlib.Path) -> str:
  with path.open("rb") as stream:
    return hashlib.file_digest(stream, "sha256").hexdigest()
