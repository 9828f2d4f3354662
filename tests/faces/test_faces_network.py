"""The executor of the embedded networks against other programs."""

import io
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from affjax.assets import store
from affjax.faces import _mesh, _network, find_faces, warp

_FILE = "shared/data/mediapipe/face_landmark.tflite"
_NEAR = [p / _FILE for p in pathlib.Path(__file__).resolve().parents]
TFLITE = next((p for p in _NEAR if p.is_file()), _NEAR[0])


def _asset(nodes, weights, output):
  """An asset of one network "x"."""
  graph = {"x": {"size": 8, "nodes": nodes, "outputs": {"y": output}}}
  text = np.frombuffer(json.dumps(graph).encode(), np.uint8)
  return {"graph": text, **{f"x/{k}": w for k, w in enumerate(weights)}}


def _conv_oracle(x, kernel, stride, *, depthwise):
  """TensorFlow's "SAME" convolution of one image, by loops."""
  side, taps = x.shape[1], kernel.shape[0]
  size = -(-side // stride)
  before = max((size - 1) * stride + taps - side, 0) // 2
  padded = np.pad(x[0], [(before, taps), (before, taps), (0, 0)])
  channels = x.shape[-1] if depthwise else kernel.shape[-1]
  out = np.zeros((size, size, channels))
  for i in range(size):
    for j in range(size):
      part = padded[i * stride : i * stride + taps, j * stride : j * stride + taps]
      if depthwise:
        out[i, j] = (part * kernel[:, :, 0]).sum((0, 1))
      else:
        out[i, j] = np.tensordot(part, kernel, 3)
  return out[None]


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(("stride", "taps"), [(1, 3), (2, 3), (2, 5), (1, 1)])
def test_convolutions(stride, taps, depthwise):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(1, 8, 8, 3))
  kernel = rng.normal(size=(taps, taps, *((1, 3) if depthwise else (3, 4))))
  bias, slope = rng.normal(size=(2, kernel.shape[-1]))
  node = {"op": "conv", "depthwise": depthwise, "stride": stride, "padding": "SAME"}
  node |= {"bias": True, "activation": "prelu", "inputs": [-1], "weights": [0, 1, 2]}
  net = _network.networks(_asset([node], [kernel, bias, slope], 0))["x"]
  expected = _conv_oracle(x, kernel, stride, depthwise=depthwise) + bias
  expected = np.where(expected > 0, expected, expected * slope)
  found = np.asarray(net(x.astype(np.float32))["y"])
  np.testing.assert_allclose(found, expected, atol=1e-4)


def test_pooling_padding_and_sums():
  x = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
  nodes = [
    {"op": "max_pool", "stride": 2, "inputs": [-1], "weights": []},
    {"op": "relu", "inputs": [0], "weights": []},
    {"op": "add", "inputs": [0, 1], "weights": []},
    {
      "op": "pad",
      "widths": [[0, 0], [0, 0], [0, 0], [0, 1]],
      "inputs": [2],
      "weights": [],
    },
    {"op": "reshape", "shape": [-1, 2], "inputs": [3], "weights": []},
  ]
  net = _network.networks(_asset(nodes, [], 4))["x"]
  pooled = x.reshape(2, 4, 2, 4, 2, 3).max((2, 4))
  expected = np.pad(pooled + np.maximum(pooled, 0), [(0, 0)] * 3 + [(0, 1)])
  np.testing.assert_allclose(net(x)["y"], expected.reshape(2, -1, 2), atol=1e-6)


@pytest.mark.skipif(not TFLITE.is_file(), reason="MediaPipe's file is not here")
def test_landmarks_agree_with_mediapipe():
  """The original network in TensorFlow Lite gives the same points."""
  litert = pytest.importorskip("ai_edge_litert.interpreter")
  portrait = Image.open(io.BytesIO(store.read_asset("astronaut.jpg"))).convert("RGB")
  photo = np.asarray(portrait)
  face = find_faces(photo)[0]
  square = _mesh.square_of_landmarks(face.landmarks)
  matrix = warp.similarity(square.center, square.size, square.angle, 192)
  image = warp.warp(photo, matrix, 192)[None]
  original = litert.Interpreter(str(TFLITE))
  original.allocate_tensors()
  original.set_tensor(original.get_input_details()[0]["index"], image)
  original.invoke()
  points, flag = (
    original.get_tensor(entry["index"]).reshape(-1)
    for entry in original.get_output_details()
  )
  ours = _network.networks(store.open_asset("faces.npz"))["landmarks"](image)
  gap = np.abs(np.asarray(ours["mesh"]).reshape(-1) - points)
  print(f"largest difference {gap.max():.4f} px")
  assert gap.max() < 0.01
  # The original's flag is a logit.
  assert abs(np.asarray(ours["flag"]).item() - 1 / (1 + np.exp(-flag.item()))) < 1e-3
