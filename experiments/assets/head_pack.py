"""Packs the head into one small file: integers with one scale per mode."""

import pathlib
import zipfile

import numpy as np


def quantised(basis: np.ndarray, largest: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns integers of at most `largest` and the scale of each mode, `[K]`."""
  scale = np.abs(basis).max((1, 2)) / largest
  scale = np.maximum(scale, 1e-12).astype(np.float32)
  return np.round(basis / scale[:, None, None]).astype(np.int32), scale


def write(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
  """Writes an `.npz` whose bytes depend only on the arrays."""
  beside = path.with_suffix(".tmp")
  with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
    for name in sorted(arrays):
      info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
      info.compress_type = zipfile.ZIP_DEFLATED
      with file.open(info, "w") as member:
        np.lib.format.write_array(
          member, np.ascontiguousarray(arrays[name]), allow_pickle=False
        )
  beside.replace(path)
