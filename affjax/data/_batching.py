"""From stacked records, as they are stored, to what a training step sees."""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array

from affjax.data import _augmentation
from affjax.geometry import uv
from affjax.types import Batch

# What a training step reads of a record.
FIELDS = (
  "image",
  "visible",
  "vertices",
  "pose",
  "diffuse",
  "has_pose",
  "has_diffuse",
)


def to_batch(record: Mapping[str, Array], table: uv.UVTable) -> Batch:
  """Bytes to floats, vertices to position maps; made to run under `jit`.

  Args:
    record: arrays of N stacked records: `image` uint8 `[N, H, W, 3]`, `visible`
      uint8 `[N, H, W, 1]`, `vertices` `[N, V, 3]` (head space, dm), `pose` `[N, 6]`,
      `diffuse` uint8 `[N, S, S, 3]`, `has_pose` and `has_diffuse` `[N]`. What
      `augmentation.augmented` adds is done to the photos; others are ignored.
    table: of the template at the map size S; a constant of the compiled program.

  Raises:
    ValueError: a field is missing, or the maps have another size than the table.
  """
  missing = [name for name in FIELDS if name not in record]
  if missing:
    raise ValueError(f"record lacks {', '.join(missing)}; it has {', '.join(record)}")
  size = record["diffuse"].shape[-2]
  if size != table.size:
    raise ValueError(f"diffuse maps are {size} texels wide, the table {table.size}")
  unit = lambda name: jnp.asarray(record[name]).astype(jnp.float32) / 255
  plain = lambda name: jnp.asarray(record[name]).astype(jnp.float32)
  return Batch(
    image=_augmentation.develop(unit("image"), record),
    visible=unit("visible"),
    position=uv.map_from_vertices(plain("vertices"), table),
    pose=plain("pose"),
    diffuse=unit("diffuse"),
    has_pose=plain("has_pose"),
    has_diffuse=plain("has_diffuse"),
  )
