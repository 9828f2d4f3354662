"""Stand-ins for the files of Deep3D: a BFM of the embedded head, random weights."""

import functools

import numpy as np
import scipy.io
from scipy import interpolate, spatial

from affjax.heads import open_head
from tests.reference import deep3d_torch

# The network's constant answer for the first identity mode, in standard deviations.
IDENTITY = 2.0
_ACROSS, _DOWN, _COUNT = 189, 189, 35709


@functools.cache
def face():
  """Returns the front of the embedded head as a grid of 35,709 vertices.

  Returns:
    Vertices (dm, relative to their mean), triangles, and landmark vertices.
  """
  template = open_head("embedded").template
  skin = template.faces[template.face_groups == template.group_names.index("skin")]
  front = template.vertices[np.unique(skin)]
  front = front[front[:, 2] > 0.0]
  height = interpolate.RBFInterpolator(front[:, :2], front[:, 2], 24, 1e-3)
  x, y = np.meshgrid(np.linspace(-0.7, 0.7, _ACROSS), np.linspace(0.7, -0.95, _DOWN))
  flat = np.stack([x, y], -1).reshape(-1, 2)
  vertices = np.concatenate([flat, height(flat)[:, None]], -1)
  corner = np.arange(_ACROSS * _DOWN).reshape(_DOWN, _ACROSS)
  a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]
  faces = np.concatenate(
    [np.stack(t, -1).reshape(-1, 3) for t in ((a, c, b), (b, c, d))]
  )
  faces = faces[(faces < _COUNT).all(1)]
  vertices = vertices[:_COUNT]
  corners = template.vertices[template.faces[template.landmark_faces]]
  places = (corners * template.landmark_weights[..., None]).sum(1)
  landmarks = spatial.KDTree(vertices).query(places)[1]
  return vertices - vertices.mean(0), faces, landmarks


def wider():
  """Returns the first identity mode, dm: a face that is 2 % wider."""
  vertices, _, _ = face()
  return vertices * [0.02, 0, 0]


def write_model(path):
  """Writes a `BFM_model_front.mat`."""
  vertices, faces, landmarks = face()
  identity = np.zeros((vertices.size, 80), np.float32)
  identity[:, 0] = wider().reshape(-1)
  content = {
    "meanshape": vertices.reshape(1, -1).astype(np.float32),
    "idBase": identity,
    "exBase": np.zeros((vertices.size, 64), np.float32),
    "tri": (faces + 1).astype(np.float64),
    "keypoints": (landmarks + 1).reshape(1, -1),
  }
  scipy.io.savemat(path, content, do_compression=True)
  return path


def write_weights(path):
  """Writes an `epoch_20.pth` of random weights and a bias of `IDENTITY`."""
  import torch

  network = deep3d_torch.randomized(deep3d_torch.Network())
  with torch.no_grad():
    for layer in network.final_layers:
      layer.weight.mul_(1e-4)
      layer.bias.zero_()
    network.final_layers[0].bias[0] = IDENTITY
  torch.save({"net_recon": network.state_dict()}, path)
  return path
