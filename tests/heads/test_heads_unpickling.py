"""The reader of pickled arrays reads arrays and refuses everything else."""

import contextlib
import os
import pickle

import numpy as np
import pytest
import scipy.sparse

from affjax.heads import _unpickling
from tests.heads import head_files

CONTENT = {
  "rows": np.arange(12.0).reshape(3, 4),
  "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
  "other end": np.arange(3, dtype=">i4"),
  "empty": np.zeros((0, 3), np.float32),
  "number": np.float32(2.5),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_and_numbers(protocol):
  content = {**CONTENT, "text": "female", "list": [1, 2.5, None, True]}
  got = _unpickling.load(pickle.dumps(content, protocol))
  assert set(got) == set(content)
  for name, value in CONTENT.items():
    np.testing.assert_array_equal(got[name], value)
    assert got[name].dtype == value.dtype
  assert (got["text"], got["list"]) == ("female", [1, 2.5, None, True])


@pytest.mark.parametrize("make", [scipy.sparse.csc_matrix, scipy.sparse.csr_matrix])
def test_sparse_matrices(make):
  matrix = make(np.diag([1.0, 2.0, 3.0])[:2])
  got = _unpickling.load(pickle.dumps({"J": matrix}, 2))["J"]
  np.testing.assert_array_equal(got.toarray(), matrix.toarray())


def test_chumpy_becomes_an_array(monkeypatch):
  wrapped = head_files.chumpy_module(monkeypatch)
  for protocol in (2, 4):
    data = pickle.dumps({"v": wrapped(CONTENT["rows"])}, protocol)
    np.testing.assert_array_equal(_unpickling.load(data)["v"], CONTENT["rows"])


# Python 2 writes bytes as strings, and objects of old protocols by `copy_reg`.
ARRAY_OF_PYTHON_2 = (
  b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
  b"(K\x01(K\x02tcnumpy\ndtype\n(U\x02f8K\x00K\x01tR"
  b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10"
  + np.array([1.5, -2.0]).tobytes()
  + b"tb"
)
CHUMPY_OF_PYTHON_2 = (
  b"ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\nobject\nNtR"
  b"}U\x01x" + ARRAY_OF_PYTHON_2 + b"sb"
)


@pytest.mark.parametrize("value", [ARRAY_OF_PYTHON_2, CHUMPY_OF_PYTHON_2])
def test_pickles_of_python_2(value):
  got = _unpickling.load(b"\x80\x02}U\x01v" + value + b"s.")
  np.testing.assert_array_equal(got["v"], [1.5, -2.0])


def _exploit(function, *arguments):
  class Exploit:
    def __reduce__(self):
      return function, arguments

  return pickle.dumps({"v": Exploit()}, 2)


def _changed(old, new):
  return b"\x80\x02}U\x01v" + ARRAY_OF_PYTHON_2.replace(old, new) + b"s."


# A tuple of the tuple before it, twice, sixty times over.
LAUGHS = b"K\x02" + 60 * b"q\x09h\x09\x86"

HOSTILE = {
  "os.system": (_exploit(os.system, "touch ran"), "wants 'posix.system'"),
  "eval": (_exploit(eval, "1"), "wants '__builtin__.eval'"),
  "numpy's loader": (_exploit(np.load, "x", None, True), "wants 'numpy.load'"),
  "calls a class": (b"\x80\x02}U\x01vcchumpy.ch\nCh\n)Rs.", "call 'chumpy.ch.Ch'"),
  "old object": (b"\x80\x02(ios\nsystem\n.", "uses INST"),
  "an extension": (b"\x80\x02\x82\x01.", "uses EXT1"),
  "a list": (pickle.dumps([1]), "holds a list"),
  "objects": (
    pickle.dumps({"v": np.array([{}, []], object)}, 2),
    "an array of objects",
  ),
  "too few bytes": (_changed(b"(K\x02t", b"(K\x03t"), "in 16 bytes"),
  "huge shape": (_changed(b"(K\x02t", b"(J\xff\xff\xff\x7ft"), "in 16 bytes"),
  "negative shape": (_changed(b"(K\x02t", b"(J\xff\xff\xff\xfft"), "whose shape is no"),
  "a shape without end": (_changed(b"(K\x02t", LAUGHS), "whose shape is no"),
  "strange type": (_changed(b"U\x02f8", b"U\x02V8"), "no number"),
  "no byte order": (_changed(b"U\x01<", b"U\x01?"), "without a byte order"),
  "no state": (b"\x80\x02}U\x01vcchumpy.ch\nCh\n)\x81s.", "unfinished chumpy.ch.Ch"),
  "empty": (b"", "pickle exhausted"),
  "cut": (pickle.dumps(CONTENT)[:200], "only 45 remain"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_and_nothing_runs(tmp_path, monkeypatch, name):
  monkeypatch.chdir(tmp_path)
  data, message = HOSTILE[name]
  with pytest.raises(ValueError, match=message):
    _unpickling.load(data)
  assert not list(tmp_path.iterdir())


def test_sparse_indices_outside_the_shape_are_refused():
  matrix = scipy.sparse.csc_matrix(np.eye(3))
  matrix.indices[0] = 7
  with pytest.raises(ValueError, match="indices"):
    _unpickling.load(pickle.dumps({"J": matrix}, 2))


def test_any_cut_or_changed_byte_gives_an_answer_or_a_value_error():
  data = pickle.dumps({"a": np.arange(3.0), "J": scipy.sparse.csc_matrix(np.eye(2))}, 2)
  rng = np.random.default_rng(0)
  for _ in range(300):
    broken = bytearray(data[: rng.integers(1, len(data) + 1)])
    broken[rng.integers(len(broken))] = rng.integers(256)
    with contextlib.suppress(ValueError):
      _unpickling.load(bytes(broken))
