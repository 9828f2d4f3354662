"""Tasks for a pool's processes; they start fast, as this file imports nothing."""

import os


def doubler():
  """Returns the function that doubles, which fails for some numbers."""
  return _double


def survivor():
  """Returns the same function for processes that are replaced."""
  return lambda value, tell: _double(value)


def _double(value):
  if value == 7:
    raise ValueError("seven")
  if value == 8:
    os._exit(3)
  return 2 * value
