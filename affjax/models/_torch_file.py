"""Reads tensors from PyTorch's .pth files without running anything in them.

A .pth file holds a pickle, a program for a stack machine that may call any Python
function. Here our own interpreter, `_torch_pickle`, reads that program: it knows the
few instructions of a state dict and builds descriptions of tensors.

Two containers exist. Since PyTorch 1.6: a zip archive with `NAME/data.pkl` and one
uncompressed member `NAME/data/KEY` for each storage. Before (torchvision's VGG files):
four pickles in a row (magic number, protocol, system, state dict), then
a pickled list of keys, and for each key an int64 number of elements and the bytes.
"""

import math
import pathlib
import struct
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from affjax.models import _torch_pickle
from affjax.models._torch_pickle import StorageRef, TensorRef

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# Limit of a pickle: descriptions of thousands of tensors take less than 1 MiB of it.
_MAX_PICKLE = 16 << 20
# Exceptions of zipfile for damaged files: a seek to a negative place is an OSError, a
# wrong flag "encrypted" a RuntimeError.
_DAMAGE = (
  ValueError,
  EOFError,
  OSError,
  RuntimeError,
  OverflowError,
  struct.error,
  zipfile.BadZipFile,
)


def read(
  path: pathlib.Path, *, prefix: str = "", within: str = "state_dict"
) -> dict[str, np.ndarray]:
  """Reads the tensors of a state dict whose names begin with `prefix`.

  Args:
    path: A file that `torch.save(module.state_dict(), path)` wrote, in either
      container.
    prefix: Prefix of the names to load.
    within: Name of the state dict in a checkpoint that holds other things as well.

  Raises:
    ValueError: The file is damaged, asks for anything but plain tensors, or describes a
      tensor outside its storage.
  """
  with path.open("rb") as file:
    try:
      if zipfile.is_zipfile(file):
        return _read_zip(file, within, prefix)
      file.seek(0)
      return _read_legacy(file, within, prefix)
    except _DAMAGE as error:
      raise ValueError(f"{path} is not a readable PyTorch file: {error}") from error


def _read_zip(file: BinaryIO, within: str, prefix: str) -> dict[str, np.ndarray]:
  with zipfile.ZipFile(file) as archive:
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(pickles) != 1:
      raise ValueError(f"it must hold one data.pkl, found {len(pickles)}")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist():
      order = _member(archive, f"{folder}byteorder", 16)
      if order != b"little":
        raise ValueError(f"its byte order must be little, got {order!r}")
    state, _ = _torch_pickle.load(_member(archive, pickles[0], _MAX_PICKLE))

    def storage_bytes(ref: StorageRef) -> bytes:
      return _member(archive, f"{folder}data/{ref.key}", ref.nbytes)

    return _tensors(state, within, prefix, storage_bytes)


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
  """Returns the bytes of an archive member, at most `limit` of them."""
  try:
    info = archive.getinfo(name)
  except KeyError:
    raise ValueError(f"its part {name!r} is missing") from None
  # PyTorch never compresses: a member that inflates is an attack on the memory.
  if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
    raise ValueError(f"its part {name!r} is compressed")
  if info.file_size > limit:
    raise ValueError(f"its part {name!r} has {info.file_size} bytes, more than {limit}")
  return archive.read(info)


def _read_legacy(file: BinaryIO, within: str, prefix: str) -> dict[str, np.ndarray]:
  storages: dict[str, StorageRef] = {}

  def next_pickle(limit: int) -> Any:
    start = file.tell()
    value, length = _torch_pickle.load(file.read(limit), storages)
    file.seek(start + length)
    return value

  try:
    magic = next_pickle(64)
  except ValueError:
    magic = None
  if magic != _MAGIC:
    raise ValueError("it is neither a zip archive nor an older PyTorch file")
  if next_pickle(64) != _PROTOCOL:
    raise ValueError(f"its protocol must be {_PROTOCOL}")
  system = next_pickle(4096)
  if not (isinstance(system, dict) and system.get("little_endian") is True):
    raise ValueError("its byte order must be little")
  state = next_pickle(_MAX_PICKLE)
  places = _legacy_places(file, next_pickle(_MAX_PICKLE), storages)

  def storage_bytes(ref: StorageRef) -> bytes:
    if ref.key not in places:
      raise ValueError(f"its storage {ref.key!r} is missing")
    file.seek(places[ref.key])
    return file.read(ref.nbytes)

  return _tensors(state, within, prefix, storage_bytes)


def _legacy_places(
  file: BinaryIO, keys: Any, storages: dict[str, StorageRef]
) -> dict[str, int]:
  """Returns the offset in the file at which the bytes of each storage begin."""
  if not isinstance(keys, list):
    raise ValueError("its list of storages is missing")
  place = file.tell()
  places = {}
  for key in keys:
    if not isinstance(key, str) or key not in storages:
      raise ValueError("its list of storages names one that no tensor has")
    file.seek(place)
    count = int.from_bytes(file.read(8), "little", signed=True)
    if count != storages[key].count:
      raise ValueError(
        f"its storage {key!r} has {count} elements, not {storages[key].count}"
      )
    places[key] = place + 8
    place += 8 + storages[key].nbytes
  return places


def _tensors(
  state: Any, within: str, prefix: str, storage_bytes: Callable[[StorageRef], bytes]
) -> dict[str, np.ndarray]:
  """Returns arrays for the described tensors of a state dict."""
  if isinstance(state, dict) and isinstance(state.get(within), dict):
    state = state[within]
  if not isinstance(state, dict):
    raise ValueError("it holds no state dict")
  return {
    name: _array(name, ref, storage_bytes(ref.storage))
    for name, ref in state.items()
    if isinstance(name, str) and name.startswith(prefix) and isinstance(ref, TensorRef)
  }


def _array(name: str, ref: TensorRef, data: bytes) -> np.ndarray:
  """Returns a copy of the part of a storage that a tensor sees."""
  storage = ref.storage
  if len(data) != storage.nbytes:
    raise ValueError(
      f"the storage of {name!r} has {len(data)} bytes, not {storage.nbytes}"
    )
  last = ref.offset + sum(
    (length - 1) * stride for length, stride in zip(ref.shape, ref.strides, strict=True)
  )
  elements = math.prod(ref.shape)
  # A stride of zero could make a huge tensor of a small storage.
  if elements and (last >= storage.count or elements > storage.count):
    raise ValueError(f"tensor {name!r} reaches outside its storage")
  flat = np.frombuffer(data, storage.dtype)[ref.offset if elements else 0 :]
  strides = [stride * storage.dtype.itemsize for stride in ref.strides]
  return np.lib.stride_tricks.as_strided(
    flat, ref.shape, strides, writeable=False
  ).copy()
