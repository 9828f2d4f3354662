"""The embedded head model, made from MakeHuman's data (CC0)."""

import functools
import io

import numpy as np
from PIL import Image

from affjax.assets import store
from affjax.heads._morphable import MorphableModel
from affjax.types import Template


@functools.lru_cache(maxsize=1)
def load() -> MorphableModel:
  """Returns the embedded head model, the same object in every call.

  It has 5.5 thousand vertices in three groups (skin, eyes, teeth), ARKit's 52
  expression units, UV masks and the 68 standard landmarks. The outer eye corners of the
  mean head are 0.9 dm apart; the origin lies 0.55 dm behind their midpoint.

  Raises:
    AssetError: the embedded file is missing or damaged.
  """
  data = store.open_asset("head.npz")
  masks = data["masks"].astype(np.float32) / 255
  template = Template(
    name="embedded",
    vertices=data["vertices"],
    faces=data["faces"].astype(np.int32),
    uvs=data["uvs"],
    faces_uv=data["faces_uv"].astype(np.int32),
    face_groups=data["face_groups"].astype(np.int32),
    group_names=tuple(data["group_names"].tolist()),
    masks=dict(zip(data["mask_names"].tolist(), masks, strict=True)),
    landmark_faces=data["landmark_faces"],
    landmark_weights=data["landmark_weights"],
    diffuse=_plain_skin(),
  )
  return MorphableModel(
    template=template,
    identity_basis=_basis(data["identity"], data["identity_scale"]),
    identity_std=data["identity_std"],
    expression_basis=_basis(data["expression"], data["expression_scale"]),
    expression_names=tuple(data["expression_names"].tolist()),
  )


def _plain_skin() -> np.ndarray:
  with Image.open(io.BytesIO(store.read_asset("plain_skin.png"))) as image:
    return np.asarray(image)


def _basis(whole: np.ndarray, scale: np.ndarray) -> np.ndarray:
  """Modes `[K, V, 3]` from integers and the scale of each mode."""
  return whole.astype(np.float32) * scale[:, None, None]
