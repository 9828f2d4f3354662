import pytest

from affjax.heads import embedded


@pytest.fixture(scope="session")
def head():
  return embedded.load()
