"""Identity: whether a render shows the person of its photo, as a face encoder sees it.

Every number is meaningful only beside that of the mean head, rendered in the same way,
and beside chance: encoders give any two faces much in common.
"""

import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from affjax.faces import warp
from affjax.models import (
  IdentityNet,
  extract_identity,
  identity_alignment,
  load_identity,
)
from affjax.types import ArrayLike

# Number of faces that are encoded together.
_BATCH = 16


def face_chips(
  photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
  landmarks: Float[np.ndarray, "n 68 2"],
  net: IdentityNet | None = None,
) -> Float[np.ndarray, "n s s 3"]:
  """Returns faces cut out and aligned as an encoder was trained on them.

  Args:
    photos: Photos or renders, RGB, of any sizes; beyond an edge its pixels repeat.
    landmarks: The 68 landmarks of the face in each, px. A detector finds those of a
      photo; those of a render are the head's own, projected.
    net: The encoder; default: the embedded one.

  Returns:
    Images in [0, 1], `net.size` px wide.

  Raises:
    ValueError: There is not one set of landmarks for each photo, or they are not
      finite or lie in one place.
  """
  net = net or _embedded()
  if len(photos) != len(landmarks):
    raise ValueError(
      f"landmarks must be those of {len(photos)} photos, got {len(landmarks)}"
    )
  chips = [
    warp.warp(photo, identity_alignment(net, points), net.size)
    for photo, points in zip(photos, landmarks, strict=True)
  ]
  return np.reshape(chips, (-1, net.size, net.size, 3)).astype(np.float32)


def identity_features(
  photos: Sequence[UInt8[np.ndarray, "_ _ 3"]],
  landmarks: Float[np.ndarray, "n 68 2"],
  net: IdentityNet | None = None,
) -> Float[np.ndarray, "n d"]:
  """Returns the embeddings of faces, in batches; arguments as `face_chips`."""
  net = net or _embedded()
  chips = face_chips(photos, landmarks, net)
  found = []
  for k in range(0, len(chips), _BATCH):
    part = chips[k : k + _BATCH]
    # Filled up, so that one size is compiled.
    full = np.concatenate([part, np.repeat(part[-1:], _BATCH - len(part), 0)])
    found.append(np.asarray(extract_identity(net, full))[: len(part)])
  return np.concatenate(found)


def identity_cosine(
  first: Float[ArrayLike, "n d"], second: Float[ArrayLike, "n d"]
) -> Float[Array, " n"]:
  """Cosine similarity of embeddings, in [-1, 1]; higher is better.

  The paper's table 2 takes it between photo and render, with Light CNN 29. The
  embeddings of the embedded encoder share a large mean: on 300 photos of 60 people of
  LFW the cosine is 0.95 for one person and 0.84 for two (standard deviations 0.02 and
  0.03), so that 0.84, not 0, is a stranger.

  Args:
    first: Embeddings, such as those of renders.
    second: Embeddings to compare with, one for one.
  """
  return jnp.sum(_unit(first) * _unit(second), -1)


def identity_distance(
  first: Float[ArrayLike, "n d"], second: Float[ArrayLike, "n d"]
) -> Float[Array, " n"]:
  """Euclidean distance of embeddings, >= 0; lower is better.

  dlib's encoder is trained so that distances are below 0.6 for one person and above for
  two; on the photos of `identity_cosine`, 98 % of either kind of pair are.
  """
  return jnp.linalg.norm(jnp.asarray(first) - jnp.asarray(second), axis=-1)


def retrieval_rank(
  probes: Float[ArrayLike, "n d"], gallery: Float[ArrayLike, "n d"]
) -> Int[Array, " n"]:
  """Place of each probe's own entry when the gallery is sorted by cosine, from 1.

  Entries that are as similar as the own one come before it: an encoder that sees no
  differences ranks last, not first. A random order has the mean rank (n + 1) / 2.

  Args:
    probes: Embeddings of renders.
    gallery: Embeddings of the photos, of n different people, in the order of `probes`.
  """
  cosine = jnp.matmul(_unit(probes), _unit(gallery).T, precision="highest")
  return jnp.sum(cosine >= jnp.diagonal(cosine)[:, None], -1)


def retrieval(
  probes: Float[ArrayLike, "n d"], gallery: Float[ArrayLike, "n d"], *, top: int = 1
) -> Float[Array, " n"]:
  """1 for each probe whose own entry is among the `top` nearest of the gallery, else 0.

  The mean is the recall (the paper's table 2: top-1 and top-5), whose chance is
  `top / n`: it depends on n, which belongs beside it. Arguments as `retrieval_rank`.

  Raises:
    ValueError: `top` is below 1.
  """
  if top < 1:
    raise ValueError(f"top must be at least 1, got {top}")
  return (retrieval_rank(probes, gallery) <= top).astype(jnp.float32)


def _unit(vectors: Float[ArrayLike, "n d"]) -> Float[Array, "n d"]:
  vectors = jnp.asarray(vectors)
  norm = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
  return vectors / jnp.maximum(norm, 1e-12)


@functools.cache
def _embedded() -> IdentityNet:
  return load_identity()
