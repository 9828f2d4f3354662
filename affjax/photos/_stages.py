"""The stages of making heads of a photo, told to whoever shows progress."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Literal, get_args

Stage = Literal["read", "detect", "fit", "predict", "paint", "write"]

# The stages in the order in which a photo goes through them. A fitted head has no
# "predict".
STAGES: tuple[Stage, ...] = get_args(Stage)

# Function that is called with a stage, the number of the face and that of all faces;
# both are 0 where a stage is about all faces together.
Listener = Callable[[Stage, int, int], None]

_listener: contextvars.ContextVar[Listener | None] = contextvars.ContextVar(
  "listener", default=None
)


def enter_stage(stage: Stage, face: int = 0, faces: int = 0) -> None:
  """Tells that a stage begins.

  Args:
    stage: The stage.
    face: Number of the face that it is about, from 1 on; 0 for all together.
    faces: Number of faces; 0 likewise.
  """
  if (listener := _listener.get()) is not None:
    listener(stage, face, faces)


@contextlib.contextmanager
def stages_told_to(listener: Listener) -> Iterator[None]:
  """Calls a function at each stage that begins in the block."""
  token = _listener.set(listener)
  try:
    yield
  finally:
    _listener.reset(token)
