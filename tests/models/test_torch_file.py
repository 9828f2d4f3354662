"""The .pth reader, on archives built by hand and on hostile ones."""

import collections
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from affjax.models import _torch_file, _torch_pickle

VALUES = np.arange(24, dtype=np.float32)


class _Named:
  """Pickles as a global of any module, whether that exists or not."""

  def __init__(self, module, name):
    self.module, self.name = module, name

  def __reduce__(self):
    return f"{self.module}\n{self.name}"


class _Call:
  """Pickles as a call."""

  def __init__(self, function, *arguments):
    self.function, self.arguments = function, arguments


class _Storage:
  def __init__(self, kind="FloatStorage", key="0", count=24):
    self.id = ("storage", _Named("torch", kind), key, "cpu", count)


class _Pickler(pickle._Pickler):
  """Python's pure pickler, taught to write what PyTorch writes."""

  def persistent_id(self, obj):
    return obj.id if isinstance(obj, _Storage) else None

  def save(self, obj, save_persistent_id=True):
    if isinstance(obj, _Named):
      self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
    elif isinstance(obj, _Call):
      self.save(obj.function)
      self.save(obj.arguments)
      self.write(pickle.REDUCE)
    else:
      super().save(obj, save_persistent_id)


REBUILD = _Named("torch._utils", "_rebuild_tensor_v2")
ORDERED = _Named("collections", "OrderedDict")


def _tensor(storage=None, offset=0, shape=(2, 3, 4), strides=(12, 4, 1)):
  storage = storage or _Storage()
  return _Call(REBUILD, storage, offset, shape, strides, False, _Call(ORDERED))


def _pickled(value, protocol=2):
  file = io.BytesIO()
  _Pickler(file, protocol).dump(value)
  return file.getvalue()


def _archive(path, pickled, members=None, **options):
  members = {"data/0": VALUES.tobytes()} if members is None else members
  with zipfile.ZipFile(path, "w", **options) as archive:
    archive.writestr("any/data.pkl", pickled)
    for name, content in members.items():
      archive.writestr(f"any/{name}", content)
  return path


def _legacy(path, value, keys=("0",), storages=(VALUES,), head=None):
  head = head or (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
  parts = [*(_pickled(part) for part in head), _pickled(value), _pickled(list(keys))]
  for storage in storages:
    parts += [struct.pack("<q", storage.size), storage.tobytes()]
  path.write_bytes(b"".join(parts))
  return path


class TestGoodFiles:
  @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
  def test_zip_archive(self, tmp_path, protocol):
    state = {
      "a.weight": _tensor(),
      "a.view": _tensor(offset=2, shape=(3, 2), strides=(1, 4)),
      "a.scalar": _tensor(offset=5, shape=(), strides=()),
      "a.empty": _tensor(offset=24, shape=(0, 3), strides=(3, 1)),
      "b.other": _tensor(storage=_Storage(key="absent")),
      "epoch": 3,
    }
    path = _archive(tmp_path / "x.pth", _pickled(state, protocol))
    tensors = _torch_file.read(path, prefix="a.")
    assert set(tensors) == {"a.weight", "a.view", "a.scalar", "a.empty"}
    np.testing.assert_array_equal(tensors["a.weight"], VALUES.reshape(2, 3, 4))
    np.testing.assert_array_equal(tensors["a.view"], [[2, 6], [3, 7], [4, 8]])
    assert tensors["a.scalar"] == 5
    assert tensors["a.empty"].shape == (0, 3)

  def test_ordered_dict_with_metadata_in_a_checkpoint(self, tmp_path):
    class WithState(collections.OrderedDict):
      def __reduce__(self):
        raise NotImplementedError

    # OrderedDict(), SETITEMS, then BUILD with the attributes, as module.state_dict().
    pickled = _pickled({"state_dict": 0})
    inner = (
      _pickled(_Call(ORDERED))[2:-1]
      + b"(" + _pickled("w")[2:-1] + _pickled(_tensor())[2:-1] + b"u"
      + _pickled({"_metadata": _Call(ORDERED)})[2:-1] + b"b"
    )  # fmt: skip
    pickled = b"\x80\x02}(" + _pickled("state_dict")[2:-1] + inner + b"u."
    tensors = _torch_file.read(_archive(tmp_path / "x.pth", pickled))
    np.testing.assert_array_equal(tensors["w"], VALUES.reshape(2, 3, 4))

  @pytest.mark.parametrize(
    ("kind", "dtype"),
    [("HalfStorage", "f2"), ("LongStorage", "i8"), ("BoolStorage", "?")],
  )
  def test_other_types(self, tmp_path, kind, dtype):
    content = np.arange(6).astype(dtype)
    tensor = _tensor(_Storage(kind, "7", 6), shape=(6,), strides=(1,))
    path = _archive(
      tmp_path / "x.pth", _pickled({"t": tensor}), {"data/7": bytes(content)}
    )
    np.testing.assert_array_equal(_torch_file.read(path)["t"], content)

  def test_the_container_before_pytorch_1_6(self, tmp_path):
    """torchvision's vgg19-dcbb9e9d.pth is one."""
    old = _Named("torch._utils", "_rebuild_tensor")
    storage = _Storage(key="94001", count=3)
    storage.id = (*storage.id, None)
    state = {
      "a": _tensor(),
      "b": _Call(
        _Named("torch._utils", "_rebuild_parameter"),
        _Call(old, storage, 1, (2,), (1,)),
        True,
        _Call(ORDERED),
      ),
    }
    path = _legacy(
      tmp_path / "x.pth",
      state,
      ["94001", "0"],
      [np.array([7, 8, 9], np.float32), VALUES],
    )
    tensors = _torch_file.read(path)
    np.testing.assert_array_equal(tensors["a"], VALUES.reshape(2, 3, 4))
    np.testing.assert_array_equal(tensors["b"], [8, 9])


def _exploit(function, *arguments):
  """What pickle itself writes for an object whose `__reduce__` calls a function."""

  class Exploit:
    def __reduce__(self):
      return function, arguments

  return pickle.dumps({"w": Exploit()})


HOSTILE = {
  "os.system": (_exploit(os.system, "touch ran"), "wants 'posix.system'"),
  "eval": (_exploit(eval, "1"), "wants 'builtins.eval'"),
  "getattr": (_exploit(getattr, "a", "upper"), "wants 'builtins.getattr'"),
  "an object": (b"\x80\x02(ios\nsystem\n.", "uses INST"),
  "new object": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "uses NEWOBJ"),
  "an extension": (b"\x80\x02\x82\x01.", "uses EXT1"),
  "a text instruction": (b"I1\n.", "uses INT"),
  "calls a storage type": (b"\x80\x02ctorch\nFloatStorage\n)R.", "call 'torch.F"),
  "calls a string": (b"\x80\x02X\x01\x00\x00\x00a)R.", "no global on the stack"),
  "builds on a global": (
    b"\x80\x02ccollections\nOrderedDict\n}b.",
    "no dict on the stack",
  ),
  "empty stack": (b"\x80\x02.", "no object on the stack"),
  "no mark": (b"\x80\x02}u.", "no object on the stack"),
  "a mark as a value": (b"\x80\x02(.", "a mark is no value"),
  "unset memo": (b"\x80\x02h\x07.", "never stored"),
  "no end": (b"\x80\x02}", "pickle exhausted"),
  "empty": (b"", "pickle exhausted"),
  "text beyond the end": (b"\x80\x02X\xff\xff\xff\x7fa.", "expected 2147483647 bytes"),
  "odd dict": (b"\x80\x02}(K\x01u.", "a key without a value"),
  "a dict by a dict": (b"\x80\x02}}K\x01s.", "keys other than"),
  "huge persistent id": (
    _pickled({"w": _tensor(_Storage(count=1 << 60))}),
    "has 96 bytes, not",
  ),
  "negative count": (_pickled({"w": _tensor(_Storage(count=-1))}), "not a storage"),
  "unknown storage": (
    _pickled({"w": _tensor(_Storage("UntypedStorage"))}),
    "wants 'torch.UntypedStorage'",
  ),
  "one storage twice": (
    _pickled([_Storage(), _Storage(count=2)]),
    "one storage in two ways",
  ),
  "out of bounds": (_pickled({"w": _tensor(offset=1)}), "reaches outside its storage"),
  "negative offset": (_pickled({"w": _tensor(offset=-1)}), "without a proper"),
  "negative stride": (_pickled({"w": _tensor(strides=(9, 4, -1))}), "without a proper"),
  "inflated by a stride of zero": (
    _pickled({"w": _tensor(shape=(1 << 40,), strides=(0,))}),
    "reaches outside its storage",
  ),
  "fewer strides": (_pickled({"w": _tensor(strides=(1,))}), "without a proper"),
  "no storage": (_pickled({"w": _Call(REBUILD, 0, 0, (1,), (1,))}), "without a proper"),
  "a list": (_pickled([_tensor()]), "holds no state dict"),
  "another storage's key": (
    _pickled({"w": _tensor(_Storage(key="../data.pkl"))}),
    "part 'any/data/../data.pkl' is missing",
  ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_rejected_and_nothing_runs(tmp_path, monkeypatch, name):
  monkeypatch.chdir(tmp_path)
  pickled, message = HOSTILE[name]
  path = _archive(tmp_path / "x.pth", pickled)
  with pytest.raises(
    ValueError, match=r"x.pth is not a readable PyTorch file"
  ) as caught:
    _torch_file.read(path)
  assert message in str(caught.value)
  assert os.listdir(tmp_path) == ["x.pth"]


def test_endless_references_cost_nothing():
  """A pickle of 300 bytes that describes 2^100 items: nothing walks through them."""
  doubling = b"\x80\x02]q\x00" + b"".join(
    b"h%c\x86q%c" % (k, k + 1) if k == 0 else b"h%ch%c\x86q%c" % (k, k, k + 1)
    for k in range(100)
  )
  value, _ = _torch_pickle.load(doubling + b".")
  assert len(value) == 2


class TestDamagedContainers:
  def test_every_truncation_of_a_zip_is_an_error(self, tmp_path):
    whole = _archive(tmp_path / "x.pth", _pickled({"w": _tensor()})).read_bytes()
    for length in range(0, len(whole), 7):
      (tmp_path / "x.pth").write_bytes(whole[:length])
      with pytest.raises(ValueError, match="not a readable PyTorch file"):
        _torch_file.read(tmp_path / "x.pth")

  def test_every_truncation_of_the_old_container_is_an_error(self, tmp_path):
    whole = _legacy(tmp_path / "x.pth", {"w": _tensor()}).read_bytes()
    for length in range(0, len(whole), 7):
      (tmp_path / "x.pth").write_bytes(whole[:length])
      with pytest.raises(ValueError, match="not a readable PyTorch file"):
        _torch_file.read(tmp_path / "x.pth")

  def test_no_flipped_byte_escapes_as_another_error(self, tmp_path):
    path = tmp_path / "x.pth"
    for write in (
      lambda: _archive(path, _pickled({"w": _tensor()})),
      lambda: _legacy(path, {"w": _tensor()}),
    ):
      whole = bytearray(write().read_bytes())
      for place in range(len(whole)):
        broken = whole.copy()
        broken[place] ^= 0xFF
        path.write_bytes(broken)
        try:
          _torch_file.read(path)
        except ValueError:
          continue

  def test_compressed_parts_are_rejected(self, tmp_path):
    path = _archive(
      tmp_path / "x.pth",
      _pickled({"w": _tensor()}),
      compression=zipfile.ZIP_DEFLATED,
    )
    with pytest.raises(ValueError, match="is compressed"):
      _torch_file.read(path)

  def test_other_byte_orders_and_missing_parts(self, tmp_path):
    pickled = _pickled({"w": _tensor()})
    path = _archive(tmp_path / "x.pth", pickled, {"byteorder": b"big"})
    with pytest.raises(ValueError, match="byte order must be little, got b'big'"):
      _torch_file.read(path)
    with pytest.raises(ValueError, match="part 'any/data/0' is missing"):
      _torch_file.read(_archive(path, pickled, {}))
    with pytest.raises(ValueError, match="more than 96"):
      _torch_file.read(_archive(path, pickled, {"data/0": bytes(100)}))
    with zipfile.ZipFile(path, "w") as archive:
      archive.writestr("word/document.xml", "")
    with pytest.raises(ValueError, match=r"must hold one data.pkl, found 0"):
      _torch_file.read(path)

  def test_old_container_checks_its_head_and_storages(self, tmp_path):
    path, state = tmp_path / "x.pth", {"w": _tensor()}
    for head, message in (
      ((1, 1001, {}), "neither a zip archive nor"),
      ((0x1950A86A20F9469CFC6C, 1000, {}), "protocol must be 1001"),
      ((0x1950A86A20F9469CFC6C, 1001, {"little_endian": False}), "byte order"),
    ):
      with pytest.raises(ValueError, match=message):
        _torch_file.read(_legacy(path, state, head=head))
    with pytest.raises(ValueError, match="names one that no tensor has"):
      _torch_file.read(_legacy(path, state, ["1"]))
    with pytest.raises(ValueError, match="storage '0' is missing"):
      _torch_file.read(_legacy(path, state, []))
    with pytest.raises(ValueError, match="has 2 elements, not 24"):
      _torch_file.read(_legacy(path, state, storages=[VALUES[:2]]))

  def test_a_missing_file_is_said_to_be_missing(self, tmp_path):
    with pytest.raises(FileNotFoundError):
      _torch_file.read(tmp_path / "none.pth")


@pytest.mark.parametrize("new", [True, False])
def test_reads_what_pytorch_writes(tmp_path, new):
  torch = pytest.importorskip("torch")
  module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
  state = module.state_dict()
  state["half"] = torch.arange(6).reshape(2, 3).T.half()
  path = tmp_path / "x.pth"
  torch.save(state, path, _use_new_zipfile_serialization=new)
  tensors = _torch_file.read(path)
  assert set(tensors) == set(state)
  for name, tensor in state.items():
    np.testing.assert_array_equal(tensors[name], tensor.numpy())
