"""Opens the embedded data files after verifying their hashes.

To add a file, put it beside this module, its license into `licenses/`, and its hash
into `_SHA256`.
"""

import functools
import hashlib
import io
import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np

_SHA256 = {
  "astronaut.jpg": "f5724aea6d926c89b191192877e8d879de8d5be509645935dbf684f6278fe275",
  "faces.npz": "819a49b9d990e22aa35b5482f7f0acc3583809d693ca2fded7f6a6ce78b73c70",
  "facemesh.npz": "aef671fdb0777762e77c8e2f6f44c318353c31882551d41d5c9a4d02b41cb66f",
  "head.npz": "cd30f354d7e644e816d3feefd6c8e4ac6addab874cee4687bbeee2337a59f817",
  "identity.npz": "554047f3b4d41f90fb1f5f0102af21deffc1000a16a6241294b802791ed9ce5d",
  "networks.json": "96766513cee3e6bf43f0758e238bf9bcacbec32329120ea396416112cfbb2c9d",
  "networks.safetensors": (
    "3731ca00be4627943ee6a1d748986ff02a8f08a3014ad689ef3dec929069140d"
  ),
  "plain_skin.png": "1c33c1afff71f55f06246325b2adc03bdb5bde5bb56ed9ad95e3e40cd638d570",
  "regions.npz": "45b6d8db52cdd3f29783543dd3527a5db48d88b4d3b7a9a48bec11356f7f7d06",
  "surface.npz": "f2757dcb0125922493ae92e23236d7e321fad5af52b3c0385ce23acdca2a210b",
  "vgg16.npz": "184a49dc1c53a7c60d177f54e5f92f4aeb575b5265ca1e9ee975d85f6cd7fea6",
}

_FOLDER = pathlib.Path(__file__).parent


class AssetError(ValueError):
  """An embedded file is missing or differs from the released one."""


def names() -> tuple[str, ...]:
  """Returns the names of the embedded files."""
  return tuple(sorted(_SHA256))


def open_asset(name: str) -> Mapping[str, np.ndarray]:
  """Returns the read-only arrays of an embedded `.npz` file, by name.

  Args:
    name: a file name, one of `names()`.

  Raises:
    AssetError: the file is missing or differs from the released one.
    ValueError: the name is unknown.
  """
  return _open(name)


def read_asset(name: str) -> bytes:
  """Returns the content of an embedded file.

  Args:
    name: a file name, one of `names()`.

  Raises:
    AssetError: the file is missing or differs from the released one.
    ValueError: the name is unknown.
  """
  if name not in _SHA256:
    raise ValueError(f"unknown asset {name!r}; known: {', '.join(names())}")
  try:
    data = (_FOLDER / name).read_bytes()
  except OSError as error:
    raise AssetError(f"embedded file {name} cannot be read: {error}") from error
  got = hashlib.sha256(data).hexdigest()
  if got != _SHA256[name]:
    raise AssetError(
      f"embedded file {name} is damaged: SHA-256 {got[:12]}… of {len(data)} bytes, "
      f"expected {_SHA256[name][:12]}…; reinstall affjax"
    )
  return data


def sha256(path: str | pathlib.Path) -> str:
  """Returns the SHA-256 of a file in hexadecimal digits."""
  return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def read_npz(data: bytes, name: str) -> dict[str, np.ndarray]:
  """Returns all arrays of an `.npz` file in memory; never unpickles.

  Args:
    data: content of the file.
    name: name of the file in messages.
  """
  try:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
      arrays = {key: file[key] for key in file.files}
  except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
    raise AssetError(f"{name} is not a readable .npz file: {error}") from error
  for array in arrays.values():
    array.flags.writeable = False
  return arrays


@functools.cache
def _open(name: str) -> Mapping[str, np.ndarray]:
  return read_npz(read_asset(name), name)
