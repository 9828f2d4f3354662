"""Seconds that jaxrenderer takes for a picture's depths: MESH.npz SIZE THREADS.

Run by `bench_rasterizer.py` with an interpreter that has it (see there). Its depth
shader does least, so that the time is the rasterizer's.
"""

import json
import os
import sys
import time

import numpy as np


def main() -> None:
  path, size, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
  # XLA takes as many threads as it may.
  os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
  import jax
  import jax.numpy as jnp
  from renderer import pipeline, types
  from renderer.geometry import Camera
  from renderer.shaders import depth

  mesh = np.load(path)
  points, tri = jnp.asarray(mesh["points"]), jnp.asarray(mesh["tri"])
  whole = jnp.array([size, size])
  camera = Camera.create(
    view=jnp.eye(4),
    projection=jnp.eye(4),
    viewport=Camera.viewport_matrix(jnp.zeros(2, int), whole, jnp.array(1.0)),
    view_inv=jnp.eye(4),
  )

  @jax.jit
  def run(points):
    buffers = types.Buffers(zbuffer=jnp.ones((size, size)), targets=())
    return pipeline.render(
      camera=camera,
      shader=depth.DepthShader,
      buffers=buffers,
      face_indices=tri,
      extra=depth.DepthExtraInput(position=points),
    ).zbuffer

  if not 0.3 < float(jnp.mean(run(points) < 1)) < 0.4:
    raise SystemExit("the ball does not cover what it should")
  seconds = []
  for _ in range(3):
    start = time.perf_counter()
    run(points).block_until_ready()
    seconds.append(time.perf_counter() - start)
  print(json.dumps(sorted(seconds)[1]))


if __name__ == "__main__":
  main()
