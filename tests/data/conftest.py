import pytest

from affjax.heads import open_head


@pytest.fixture(scope="session")
def head():
  return open_head("embedded")
