"""Tasks for a pool's processes, which start fast because this file imports nothing."""

import os


def doubler():
  """Makes the function that doubles; some numbers upset it."""
  return _double


def _double(value):
  if value == 7:
    raise ValueError("seven")
  if value == 8:
    os._exit(3)
  return 2 * value
