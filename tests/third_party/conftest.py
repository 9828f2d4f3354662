"""nvdiffrast's kernels on the devices that can run them."""

import jax
import pytest

from tests.third_party import nvdiffrast_on_host
from third_party.nvdiffrast_jax import library, sources


@pytest.fixture(scope="session")
def host_library(tmp_path_factory):
  """The adapter's layer and nvdiffrast's kernels, compiled for the CPU."""
  try:
    sources.find()
    library.compilers.find("cpu")
  except (ImportError, library.compilers.CompileError) as error:
    pytest.skip(str(error))
  nvdiffrast_on_host.register(tmp_path_factory.mktemp("nvdiffrast"))


@pytest.fixture(params=["host", "cuda"])
def device(request, monkeypatch):
  """A device of JAX that runs nvdiffrast's kernels, the CPU as told there.

  The parity tests have never run on a GPU: none was at hand.
  """
  if request.param == "cuda":
    try:
      library.require()
      device = jax.devices("cuda")[0]
    except (ImportError, RuntimeError) as error:
      pytest.skip(f"needs a GPU and nvdiffrast: {error}")
  else:
    request.getfixturevalue("host_library")
    monkeypatch.setattr(library, "require", lambda: None)
    device = jax.devices("cpu")[0]
  with jax.default_device(device):
    yield device
