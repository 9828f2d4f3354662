import json

import numpy as np
import pytest

from affjax.models import _features


def _write(path, header, data=b"", header_size=None):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  size = len(text) if header_size is None else header_size
  path.write_bytes(size.to_bytes(8, "little") + text + data)
  return path


def _entry(dtype="F32", shape=(2, 3), offsets=(0, 24)):
  return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.fixture
def path(tmp_path):
  return tmp_path / "x.safetensors"


def test_reads_the_wanted_tensors(path):
  values = np.arange(6, dtype=np.float32)
  half = np.arange(4, dtype=np.float16)
  header = {
    "__metadata__": {"format": "pt"},
    "a.w": _entry(),
    "a.h": _entry("F16", (4,), (24, 32)),
    "b.other": _entry("I64", (1,), (32, 40)),
  }
  _write(path, header, values.tobytes() + half.tobytes() + bytes(8))
  tensors = _features.read_safetensors(path, prefix="a.")
  assert set(tensors) == {"a.w", "a.h"}
  np.testing.assert_array_equal(tensors["a.w"], values.reshape(2, 3))
  np.testing.assert_array_equal(tensors["a.h"], half)


def test_bfloat16_is_read(path):
  values = np.array([1.5, -2.0, 3.0e20], np.float32)
  data = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
  _write(path, {"t": _entry("BF16", (3,), (0, 6))}, data)
  found = _features.read_safetensors(path)["t"]
  np.testing.assert_allclose(found.astype(np.float32), values, rtol=0.01)


@pytest.mark.parametrize(
  "entry",
  [
    _entry(offsets=(0, 28)),
    _entry(offsets=(24, 48)),
    _entry(offsets=(24, 0)),
    _entry(offsets=(-24, 0)),
    _entry(shape=(-2, -3)),
    _entry(shape=(1 << 40, 1 << 40)),
    _entry(shape=(2.0, 3)),
    _entry(dtype="object"),
    {"dtype": "F32", "shape": [2, 3]},
    7,
  ],
)
def test_impossible_entries_are_rejected(path, entry):
  _write(path, {"t": entry}, bytes(24))
  with pytest.raises(
    ValueError, match=r"x.safetensors is not a readable safetensors file: ."
  ):
    _features.read_safetensors(path)


@pytest.mark.parametrize("header", [b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b"1"])
def test_damaged_headers_are_rejected(path, header):
  with pytest.raises(
    ValueError, match=r"x.safetensors is not a readable safetensors file: ."
  ):
    _features.read_safetensors(_write(path, header))


@pytest.mark.parametrize("size", [3, 100, 1 << 62])
def test_a_header_longer_than_the_file_is_rejected(path, size):
  _write(path, b"{", header_size=size)
  with pytest.raises(
    ValueError, match=r"x.safetensors is not a readable safetensors file: ."
  ):
    _features.read_safetensors(path)


@pytest.mark.parametrize("content", [b"", b"abc"])
def test_tiny_files_are_rejected(path, content):
  path.write_bytes(content)
  with pytest.raises(
    ValueError, match=r"x.safetensors is not a readable safetensors file: ."
  ):
    _features.read_safetensors(path)
