"""A reconstructor whose heads are balls with expressions, for the worker process."""

import numpy as np

from affjax import types
from affjax.export import Reconstruction
from affjax.geometry import uv
from affjax.photos import enter_stage
from tests.export.conftest import ball_expression, ball_template, landmark_texture

SIZE = 64


class Ball:
  """Finds a ball in every photo that is not black."""

  about = "a ball"

  def heads_of(self, pixels, path):
    enter_stage("detect")
    if not pixels.any():
      raise ValueError("no face found")
    return [head()]


def head():
  """A ball of a head, which smiles with its jaw half open."""
  ball = ball_template()
  expression = ball_expression(ball, jawOpen=0.5)
  vertices = ball.vertices + expression.displacement
  scale = SIZE / 150
  return Reconstruction(
    template=ball,
    camera=types.Camera(),
    crop_image=np.full((SIZE, SIZE, 3), 0.5, np.float32),
    crop=np.array([[scale, 0, -scale * 180], [0, scale, -scale * 90]]),
    position=np.asarray(uv.map_from_vertices(vertices, uv.uv_table(ball, SIZE))),
    diffuse=landmark_texture(),
    light=np.full((8, 8, 1), 0.9, np.float32),
    light_color=np.ones(3, np.float32),
    pose=np.array([0.1, 0.4, 0, 0, 0, 0]),
    found={},
    notes={},
    expression=expression,
  )
