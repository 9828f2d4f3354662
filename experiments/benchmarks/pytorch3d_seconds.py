"""Seconds that PyTorch3D's CPU kernel takes for a picture: MESH.npz SIZE THREADS.

Run by `bench_rasterizer.py` with an interpreter that has PyTorch3D.
"""

import json
import sys
import time

import numpy as np
import torch
from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
from pytorch3d.structures import Meshes


def main() -> None:
  path, size, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
  torch.set_num_threads(threads)
  mesh = np.load(path)
  points = torch.as_tensor(mesh["points"]) + torch.tensor([0.0, 0.0, 2.0])
  meshes = Meshes([points], [torch.as_tensor(mesh["tri"].astype(np.int64))])
  seconds = []
  for _ in range(3):
    start = time.perf_counter()
    rasterize_meshes(meshes, image_size=size, blur_radius=0.0, faces_per_pixel=1)
    seconds.append(time.perf_counter() - start)
  print(json.dumps(sorted(seconds)[1]))


if __name__ == "__main__":
  main()
