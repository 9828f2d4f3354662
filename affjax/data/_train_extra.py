"""The modules of the extra `affjax[train]`, imported only where they are needed."""

import contextlib
from collections.abc import Iterator

_MODULES = frozenset({"array_record", "etils", "grain", "tensorflow_datasets"})


@contextlib.contextmanager
def needed_for(task: str) -> Iterator[None]:
  """Turns a failed import of the extra's modules into an error that says how to get it.

  Args:
    task: The task that needs them, as the subject of the message: "reading shards".

  Raises:
    ImportError: A module of the extra is not installed.
  """
  try:
    yield
  except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in _MODULES:
      raise
    raise ImportError(
      f"{task} needs {error.name}: pip install 'affjax[train]'"
    ) from error
