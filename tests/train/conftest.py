"""One compiled step for each learner, whatever the number of runs that use it."""

import functools

import pytest

from affjax.train import steps


@pytest.fixture(autouse=True, scope="session")
def compiled_once():
  """Keeps the compiled steps: most tests train the same learner from the start."""
  with pytest.MonkeyPatch.context() as patch:
    for name in ("make_update", "make_evaluate"):
      patch.setattr(steps, name, functools.cache(getattr(steps, name)))
    yield
