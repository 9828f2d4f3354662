"""Membranes on the head's surface."""

import numpy as np

from affjax.faces._fit.filling import membrane
from affjax.geometry import uv
from affjax.heads import open_head

SIZE = 64
TEMPLATE = open_head("embedded").template
SUPPORT = uv.uv_table(TEMPLATE, SIZE).support


def test_a_constant_stays_one_and_the_default_fills_the_rest():
  values = np.full((SIZE, SIZE, 1), 0.7)
  field = membrane(values, np.zeros((SIZE, SIZE)), np.array([0.3]), TEMPLATE)
  np.testing.assert_allclose(field[SUPPORT], 0.3, atol=1e-6)
  field = membrane(values, np.ones((SIZE, SIZE)), np.array([0.7]), TEMPLATE)
  np.testing.assert_allclose(field[SUPPORT], 0.7, atol=1e-6)


def test_the_field_lies_between_what_is_known_and_grows_from_one_to_the_other():
  values = np.zeros((SIZE, SIZE, 1))
  values[:, SIZE // 2 :] = 1
  weight = np.zeros((SIZE, SIZE))
  weight[16:48, 16:20] = weight[16:48, 44:48] = 1
  field = membrane(values, weight, np.array([0.5]), TEMPLATE)[..., 0]
  row = field[30, 18:46]
  assert row[0] < 0.1
  assert row[-1] > 0.9
  assert (np.diff(row) > -1e-3).all()
  assert field[SUPPORT].min() > -1e-6
  assert field[SUPPORT].max() < 1 + 1e-6


def test_both_sides_of_a_seam_agree():
  """One half of the face is known; the back of the head is cut open in the map."""
  values = np.zeros((SIZE, SIZE, 1))
  values[:, 40:] = 1
  weight = np.zeros((SIZE, SIZE))
  weight[20:44, 10:20] = weight[20:44, 44:54] = 1
  field = membrane(values, weight, np.array([0.5]), TEMPLATE)[..., 0]
  at = np.clip(np.rint(uv.uv_to_texel(TEMPLATE.uvs, SIZE)).astype(int), 0, SIZE - 1)
  read = field[at[:, 1], at[:, 0]]
  vertex = np.zeros(len(TEMPLATE.uvs), int)
  vertex[TEMPLATE.faces_uv.reshape(-1)] = TEMPLATE.faces.reshape(-1)
  order = np.argsort(vertex, kind="stable")
  twins = np.flatnonzero(np.diff(vertex[order]) == 0)
  apart = np.abs(read[order[twins]] - read[order[twins + 1]])
  assert len(twins) > 20
  assert np.median(apart) < 0.05
