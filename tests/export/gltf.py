"""GLB files read byte for byte, and by Khronos's validator where it is installed."""

import json
import os
import pathlib
import shutil
import struct
import subprocess

import numpy as np
import pytest

_VALIDATE = """
const validator = require(process.argv[1]);
const bytes = new Uint8Array(require("fs").readFileSync(process.argv[2]));
validator.validateBytes(bytes).then(r => console.log(JSON.stringify(r.issues)));
"""
_KINDS = {5126: "<f4", 5123: "<u2", 5125: "<u4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


def parse(content):
  """The document and the binary chunk, checking the container on the way."""
  magic, version, length = struct.unpack_from("<4sII", content)
  assert (magic, version, length) == (b"glTF", 2, len(content))
  size, kind = struct.unpack_from("<I4s", content, 12)
  assert kind == b"JSON"
  assert size % 4 == 0
  document = json.loads(content[20 : 20 + size])
  rest, kind = struct.unpack_from("<I4s", content, 20 + size)
  assert kind == b"BIN\0"
  assert rest % 4 == 0
  data = content[28 + size :]
  assert len(data) == rest == document["buffers"][0]["byteLength"]
  return document, data


def values(document, data, index):
  """The numbers of an accessor, dense or sparse."""
  accessor = document["accessors"][index]
  kind, width = _KINDS[accessor["componentType"]], _WIDTHS[accessor["type"]]
  if "bufferView" in accessor:
    result = _numbers(document, data, accessor["bufferView"], kind)
    assert len(result) == accessor["count"] * width
    return result.reshape(-1, width)
  result = np.zeros((accessor["count"], width), kind)
  if sparse := accessor.get("sparse"):
    index_kind = _KINDS[sparse["indices"]["componentType"]]
    places = _numbers(document, data, sparse["indices"]["bufferView"], index_kind)
    assert len(places) == sparse["count"]
    moved = _numbers(document, data, sparse["values"]["bufferView"], kind)
    result[places] = moved.reshape(-1, width)
  return result


def _numbers(document, data, view, kind):
  view = document["bufferViews"][view]
  start = view["byteOffset"]
  return np.frombuffer(data[start : start + view["byteLength"]], kind)


def issues(content, folder):
  """What Khronos's validator has to say; skips where it is not installed."""
  node, package = shutil.which("node"), node_package("gltf-validator")
  if node is None or package is None:
    pytest.skip("needs node and `npm install gltf-validator`, found by NODE_PATH")
  path = folder / "checked.glb"
  path.write_bytes(content)
  answer = subprocess.run(
    [node, "-e", _VALIDATE, str(package), str(path)],
    capture_output=True,
    text=True,
    check=True,
    timeout=120,
  )
  return json.loads(answer.stdout)["messages"]


def node_package(name):
  """The folder of an npm package, from NODE_PATH or the working folder."""
  places = os.environ.get("NODE_PATH", "").split(os.pathsep)
  for place in [*filter(None, places), "node_modules"]:
    package = pathlib.Path(place).resolve() / name
    if (package / "package.json").is_file():
      return package
  return None
