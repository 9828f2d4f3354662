"""The embedded files are opened only if their hashes match."""

import hashlib

import numpy as np
import pytest

from affjax.assets import store


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """A store with one good file `small.npz`."""
  np.savez(tmp_path / "small.npz", numbers=np.arange(5))
  monkeypatch.setattr(store, "_FOLDER", tmp_path)
  digest = store.sha256(tmp_path / "small.npz")
  monkeypatch.setattr(store, "_SHA256", {"small.npz": digest, "gone.npz": digest})
  store._open.cache_clear()
  yield tmp_path
  store._open.cache_clear()


def test_opens_read_only(folder):
  arrays = store.open_asset("small.npz")
  np.testing.assert_array_equal(arrays["numbers"], np.arange(5))
  with pytest.raises(ValueError, match="read-only"):
    arrays["numbers"][0] = 1


def test_unknown_name_lists_the_known(folder):
  with pytest.raises(ValueError, match=r"small\.npz"):
    store.open_asset("../secret")


def test_missing_file(folder):
  with pytest.raises(store.AssetError, match=r"gone\.npz cannot be read"):
    store.open_asset("gone.npz")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_damage_is_noticed(folder, damage):
  path = folder / "small.npz"
  data = bytearray(path.read_bytes())
  if damage == "truncated":
    data = data[: len(data) // 2]
  elif damage == "empty":
    data = bytearray()
  else:
    data[len(data) // 2] ^= 1
  path.write_bytes(bytes(data))
  with pytest.raises(store.AssetError, match=r"small\.npz is damaged"):
    store.open_asset("small.npz")


def test_never_unpickles(folder, monkeypatch):
  path = folder / "small.npz"
  np.savez(path, bad=np.array([{"a": 1}], dtype=object))
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  monkeypatch.setitem(store._SHA256, "small.npz", digest)
  with pytest.raises(store.AssetError, match="not a readable"):
    store.open_asset("small.npz")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 nothing", b"plain text"])
def test_read_npz_rejects_what_is_not_one(data):
  with pytest.raises(store.AssetError, match="thing is not a readable"):
    store.read_npz(data, "thing")


def test_the_shipped_files_are_whole():
  for name in store.names():
    assert store.read_asset(name)
