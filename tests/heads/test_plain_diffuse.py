"""The plain diffuse map, embedded and for templates without one."""

import dataclasses

import numpy as np
import pytest

from affjax.geometry import uv
from affjax.heads import open_head, plain_diffuse

HEAD = open_head("embedded").template


@pytest.mark.parametrize("size", [64, 512, 1024])
def test_the_embedded_map_is_plain(size):
  plain = plain_diffuse(HEAD, size)
  skin = uv.resize_mask(HEAD.masks["skin"], size) > 0.99
  lips = uv.resize_mask(HEAD.masks["lips"], size) > 0.99
  assert plain.shape == (size, size, 3)
  assert plain.dtype == np.float32
  assert plain[skin].std(0).max() < 0.1
  redness = plain[..., 0] - plain[..., 1:].mean(-1)
  assert redness[lips].mean() > redness[skin].mean()


def test_a_template_without_a_map_gets_one_color():
  plain = plain_diffuse(dataclasses.replace(HEAD, diffuse=None), 8)
  assert plain.shape == (8, 8, 3)
  assert plain.dtype == np.float32
  assert plain.std((0, 1)).max() < 1e-6
