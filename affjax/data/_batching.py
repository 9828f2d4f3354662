"""Converts stacked records, as they are stored, to the batch of a training step."""

from collections.abc import Mapping

import jax.numpy as jnp

from affjax.data import _augmentation
from affjax.data._guides import NOISE, Degradation
from affjax.geometry import uv
from affjax.types import ArrayLike, Batch

# The fields of a record that a training step reads.
FIELDS = (
  "image",
  "visible",
  "vertices",
  "pose",
  "diffuse",
  "has_pose",
  "has_diffuse",
)


def to_batch(
  record: Mapping[str, ArrayLike],
  table: uv.UVTable,
  *,
  guides: Degradation | None = None,
) -> Batch:
  """Converts bytes to floats and vertices to position maps; runs under `jit`.

  Args:
    record: Arrays of N stacked records: `image` uint8 `[N, H, W, 3]`, `visible`
      uint8 `[N, H, W, 1]`, `vertices` `[N, V, 3]` (head space, dm), `pose` `[N, 6]`,
      `diffuse` uint8 `[N, S, S, 3]`, `has_pose` and `has_diffuse` `[N]`. Photos are
      augmented by the fields that `augmented` adds; other fields are ignored.
    table: UV table of the template at the map size S, a constant of the program.
    guides: Makes coarse heads of records with noise for them (`with_guide_noise`).

  Raises:
    ValueError: A field is missing, or the maps have another size than the table.
  """
  fields = (*FIELDS, NOISE) if guides else FIELDS
  missing = [name for name in fields if name not in record]
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
    guide=guides(record) if guides else None,
  )
