"""The photos of the app: those that wait, the one in work, and the results."""

import asyncio
import contextlib
import dataclasses
import pathlib
import secrets
import shutil
import time
from typing import Any, Literal

from affjax import bugs, pool
from affjax.app._limits import Limits
from affjax.photos import STAGES

State = Literal["uploading", "waiting", "running", "done", "failed"]


# Number of stages of a photo that are kept: a photo of many faces has some for each.
_MOST_STEPS = 10_000


class QueueFull(Exception):
  """As many photos wait as the limits allow."""


@dataclasses.dataclass(frozen=True)
class Step:
  """A stage of making heads.

  Attributes:
    stage: Its name, one of `affjax.photos.STAGES`.
    face: Number of the face that it is about; 0 for all together.
    faces: Number of faces; 0 likewise.
    since: Time at which it began, s.
  """

  stage: str
  face: int
  faces: int
  since: float


@dataclasses.dataclass(eq=False)
class Job:
  """A photo on its way to heads.

  Attributes:
    key: Opaque name of the photo in addresses and on the disk.
    name: Name of the photo for people.
    folder: Folder of its files.
    photo: The uploaded file, which is removed when it was read.
    state: Where the photo is on its way.
    since: Time at which that began, s.
    reason: Why it gave no head, if it failed.
    result: Answer of the worker, if it is done.
    steps: The stages so far, while it is in work.
    times: Seconds that each stage took, after that.
  """

  key: str
  name: str
  folder: pathlib.Path
  photo: pathlib.Path
  state: State = "uploading"
  since: float = dataclasses.field(default_factory=time.monotonic)
  reason: str = ""
  result: dict[str, Any] = dataclasses.field(default_factory=lambda: dict[str, Any]())
  steps: list[Step] = dataclasses.field(default_factory=lambda: list[Step]())
  times: dict[str, float] = dataclasses.field(
    default_factory=lambda: dict[str, float]()
  )

  @property
  def heads(self) -> pathlib.Path:
    """Folder of the heads, with the page that shows them without the app."""
    return self.folder / "heads"

  @property
  def archive(self) -> pathlib.Path:
    """Archive of that folder."""
    return self.folder / "heads.zip"

  def go(self, state: State, reason: str = "") -> None:
    """Enters a state."""
    now = time.monotonic()
    if self.state == "running":
      ends = [step.since for step in self.steps[1:]] + [now]
      for step, end in zip(self.steps, ends, strict=False):
        self.times[step.stage] = self.times.get(step.stage, 0) + end - step.since
      self.steps.clear()
    self.state, self.reason, self.since = state, reason, now

  def enter(self, told: Any) -> None:
    """Enters a stage, which the worker tells; what is no stage is left out."""
    match told:
      case [str(stage), int(face), int(faces)] if (
        stage in STAGES and len(self.steps) < _MOST_STEPS
      ):
        self.steps.append(Step(stage, face, faces, time.monotonic()))
      case _:
        pass

  @property
  def seconds(self) -> float:
    """How long it has been in its state, s."""
    return time.monotonic() - self.since

  @property
  def pending(self) -> bool:
    """Whether the photo waits or is being uploaded."""
    return self.state in ("uploading", "waiting")

  @property
  def finished(self) -> bool:
    """Whether there is a result or a reason."""
    return self.state in ("done", "failed")


class Queue:
  """All photos of the app, oldest first; used by the thread of the event loop only.

  Args:
    worker: Process that reconstructs photos.
    folder: Folder that holds a folder for each photo.
    limits: Limits on what waits and is kept.
  """

  def __init__(self, worker: pool.Worker, folder: pathlib.Path, limits: Limits) -> None:
    self.jobs: dict[str, Job] = {}
    self._worker, self._folder, self._limits = worker, folder, limits
    self._waiting: asyncio.Queue[Job] = asyncio.Queue()

  def add(self, name: str, file_name: str) -> Job:
    """Returns a new job, whose photo is to be uploaded into its file.

    Args:
      name: Name of the photo for people.
      file_name: Name of its file, which every system can hold.

    Raises:
      QueueFull: Too many photos wait.
      OSError: Its folder cannot be made.
    """
    if sum(job.pending for job in self.jobs.values()) >= self._limits.waiting:
      raise QueueFull
    key = secrets.token_hex(8)
    folder = self._folder / key
    folder.mkdir()
    job = self.jobs[key] = Job(key, name, folder, folder / file_name)
    return job

  def submit(self, job: Job) -> None:
    """Puts a job whose photo is there at the end of the queue."""
    # From now on its place among the jobs is its place in the queue.
    self.jobs[job.key] = self.jobs.pop(job.key)
    job.go("waiting")
    self._waiting.put_nowait(job)

  def place(self, job: Job) -> int:
    """Returns how many photos are done before a waiting one."""
    states = [other.state for other in self.jobs.values()]
    keys = list(self.jobs)
    ahead = states[: keys.index(job.key)]
    return ahead.count("waiting") + states.count("running")

  async def remove(self, job: Job) -> None:
    """Forgets a job that is not in work, and removes its files."""
    self.jobs.pop(job.key, None)
    await asyncio.to_thread(shutil.rmtree, job.folder, ignore_errors=True)

  async def work(self) -> None:
    """Does the jobs one after another, until it is cancelled.

    The first task is an empty one, for which the worker compiles what photos need.
    """
    # A worker that cannot be started gives the photos their reason.
    with contextlib.suppress(ValueError):
      await asyncio.to_thread(self._worker.do, {}, seconds=self._limits.photo_seconds)
    while True:
      job = await self._waiting.get()
      if job.key not in self.jobs:
        continue
      job.go("running")
      await self._do(job)
      await self._make_room()

  async def _do(self, job: Job) -> None:
    task = {
      "photo": str(job.photo),
      "out": str(job.heads),
      "archive": str(job.archive),
      "address": f"photos/{job.key}",
    }
    seconds, loop = self._limits.photo_seconds, asyncio.get_running_loop()

    def told(stage: Any) -> None:
      loop.call_soon_threadsafe(job.enter, stage)

    try:
      answer = await asyncio.to_thread(
        self._worker.do, task, seconds=seconds, told=told
      )
    except Exception as error:
      # The next photo gets a new process.
      bugs.show_traceback(error)
      answer = {"reason": bugs.reason(error)}
    if "reason" in answer:
      await asyncio.to_thread(shutil.rmtree, job.folder, ignore_errors=True)
    job.result = answer
    job.go("failed" if "reason" in answer else "done", answer.get("reason", ""))

  async def _make_room(self) -> None:
    """Removes the oldest finished jobs beyond the limits; the newest always stays."""
    done = [job for job in self.jobs.values() if job.finished]
    size = sum(job.result.get("bytes", 0) for job in done)
    over = len(done) - self._limits.results
    for job in done[:-1]:
      if over <= 0 and size <= self._limits.result_bytes:
        return
      over, size = over - 1, size - job.result.get("bytes", 0)
      await self.remove(job)
