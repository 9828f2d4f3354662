"""Batches of records, as `affjax.data` stores them, in PyTorch."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from experiments.pytorch_reference.head import Head
from experiments.pytorch_reference.losses import Batch


def to_batch(record: Mapping[str, np.ndarray], head: Head) -> Batch:
  """Converts bytes to floats and vertices to position maps."""
  like = head.mean

  def floats(name: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(record[name])).to(like)

  return Batch(
    image=floats("image") / 255,
    visible=floats("visible") / 255,
    position=head.position_map(floats("vertices")),
    pose=floats("pose"),
    diffuse=floats("diffuse") / 255,
    has_pose=floats("has_pose"),
    has_diffuse=floats("has_diffuse"),
  )
