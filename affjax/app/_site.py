"""The addresses of the app.

Results are found by the opaque key of their photo and by a table of names: no part of
an address becomes part of a path. A refusal is one line of text.
"""

import asyncio
import contextlib
import pathlib
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
  FileResponse,
  HTMLResponse,
  JSONResponse,
  PlainTextResponse,
  Response,
)
from starlette.routing import Route

from affjax import names, pool
from affjax.app._guard import Guard
from affjax.app._limits import Limits
from affjax.app._page import page_and_policy
from affjax.app._queue import Job, Queue, QueueFull
from affjax.assets import store
from affjax.faces import PhotoError, check_signature
from affjax.photos import STAGES

# Files of a head that can be had, and their media types.
FILES = {
  "crop.png": "image/png",
  "diffuse.png": "image/png",
  "head.glb": "model/gltf-binary",
  "head.mtl": "model/mtl",
  "head.obj": "model/obj",
  "head.ply": "application/octet-stream",
  "head.usdz": "model/vnd.usdz+zip",
  "light.png": "image/png",
  "neutral.obj": "model/obj",
  "overlay.png": "image/png",
  "page/after.jpg": "image/jpeg",
  "page/before.jpg": "image/jpeg",
  "page/moves.js": "text/javascript",
  "page/position.png": "image/png",
  "page/view.js": "text/javascript",
  "pose.json": "application/json",
  "position.npy": "application/octet-stream",
  "render.png": "image/png",
}
_RETRY_SECONDS = "2"


def site(
  worker: pool.Worker,
  folder: pathlib.Path,
  limits: Limits,
  *,
  port: int,
  about: str,
  started: Callable[[], None] = lambda: None,
) -> Guard:
  """Returns the app as an ASGI application, which stops the worker when it ends.

  Args:
    worker: Process that reconstructs photos.
    folder: Existing folder for the results.
    limits: Limits on what is taken and kept.
    port: The port on which it is served.
    about: Phrase that names the method on the page.
    started: Function that is called when the server answers, and ends when asked to.
  """
  queue = Queue(worker, folder, limits)
  page, policy = page_and_policy(limits, about)
  handlers = _Handlers(queue, limits, page)
  key = "/photos/{key}"
  routes = [
    Route("/", handlers.page),
    Route("/example.jpg", handlers.example),
    Route("/photos", handlers.photos),
    Route("/photos", handlers.add, methods=["POST"]),
    Route(key, handlers.photo),
    Route(key, handlers.remove, methods=["DELETE"]),
    Route(f"{key}/heads.zip", handlers.archive),
    Route(f"{key}/face{{number:int}}/{{name:path}}", handlers.file),
  ]

  @contextlib.asynccontextmanager
  async def lifespan(_: Starlette) -> AsyncIterator[None]:
    work = asyncio.create_task(queue.work())
    started()
    yield
    work.cancel()
    worker.stop()

  app = Starlette(
    routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _refusal}
  )
  app.router.redirect_slashes = False
  return Guard(app, port=port, policy=policy)


def server(app: Guard) -> uvicorn.Server:
  """Returns a server for the app."""
  return uvicorn.Server(
    uvicorn.Config(
      app,
      access_log=False,
      http="h11",
      lifespan="on",
      limit_concurrency=200,
      loop="asyncio",
      log_level="warning",
      proxy_headers=False,
      server_header=False,
      timeout_graceful_shutdown=2,
      ws="none",
    )
  )


class _Handlers:
  """The functions that answer requests.

  Args:
    queue: All photos.
    limits: Limits on uploads.
    page: HTML of the page.
  """

  def __init__(self, queue: Queue, limits: Limits, page: str) -> None:
    self._queue, self._limits, self._page = queue, limits, page

  async def page(self, request: Request) -> Response:
    """Returns the page."""
    return HTMLResponse(self._page)

  async def example(self, request: Request) -> Response:
    """Returns the portrait that comes with affjax."""
    return Response(store.read_asset("astronaut.jpg"), media_type="image/jpeg")

  async def photos(self, request: Request) -> Response:
    """Returns where all photos are, oldest first."""
    jobs = self._queue.jobs.values()
    return JSONResponse({"photos": [self._told(job) for job in jobs]})

  async def photo(self, request: Request) -> Response:
    """Returns where a photo is, with the cards of its heads; 422 if it gave none."""
    job = self._job(request)
    cards = job.result.get("cards", [])
    status = 422 if job.state == "failed" else 200
    return JSONResponse({**self._told(job), "cards": cards}, status)

  async def add(self, request: Request) -> Response:
    """Takes a photo, whose content is the body of the request."""
    if _length(request) > self._limits.upload_bytes:
      raise self._too_large()
    name = _photo_name(request)
    try:
      job = self._queue.add(name, _file_name(name))
    except QueueFull:
      headers = {"Retry-After": _RETRY_SECONDS}
      raise HTTPException(503, "too many photos wait; try again", headers) from None
    except OSError as error:
      raise HTTPException(507, f"cannot store it: {error.strerror}") from None
    try:
      await self._receive(request, job)
    except BaseException:
      await self._queue.remove(job)
      raise
    self._queue.submit(job)
    return JSONResponse(self._told(job), 202)

  async def remove(self, request: Request) -> Response:
    """Removes a photo that is not in work, and its results."""
    job = self._job(request)
    if job.state in ("uploading", "running"):
      raise HTTPException(409, "the photo is in work")
    await self._queue.remove(job)
    return Response(status_code=204)

  async def archive(self, request: Request) -> Response:
    """Returns all files of a photo in an archive."""
    job = self._job(request, done=True)
    name = f"{job.photo.stem}.zip"
    return FileResponse(job.archive, media_type="application/zip", filename=name)

  async def file(self, request: Request) -> Response:
    """Returns a file of a head."""
    job = self._job(request, done=True)
    number, name = request.path_params["number"], request.path_params["name"]
    if name not in FILES or not 1 <= number <= len(job.result["cards"]):
      raise HTTPException(404, "no such file")
    path = job.heads / job.result["folder"] / f"face{number}" / name
    if not path.is_file():
      raise HTTPException(404, "no such file")
    download = None if name.startswith("page/") else name
    return FileResponse(path, media_type=FILES[name], filename=download)

  def _job(self, request: Request, *, done: bool = False) -> Job:
    job = self._queue.jobs.get(request.path_params["key"])
    if job is None or (done and job.state != "done"):
      raise HTTPException(404, "no such photo")
    return job

  def _told(self, job: Job) -> dict[str, Any]:
    """Returns what the page knows of a photo."""
    return {
      "key": job.key,
      "name": job.name,
      "state": job.state,
      "place": self._queue.place(job) if job.state == "waiting" else 0,
      "seconds": job.seconds,
      "step": _step(job),
      "times": job.times,
      "reason": job.reason,
      "faces": len(job.result.get("cards", [])),
      "unsure": job.result.get("unsure", 0),
    }

  async def _receive(self, request: Request, job: Job) -> None:
    """Writes the body of a request into the file of a photo.

    Raises:
      HTTPException: It is too large or too slow, no photo, or the disk is full.
    """
    try:
      async with asyncio.timeout(self._limits.upload_seconds):
        await self._write_body(request, job)
    except TimeoutError:
      raise HTTPException(408, "the upload took too long", _CLOSE) from None
    except PhotoError as error:
      raise HTTPException(415, str(error)) from None
    except ClientDisconnect:
      raise HTTPException(400, "the upload broke off") from None
    except OSError as error:
      raise HTTPException(507, f"cannot store it: {error.strerror}") from None

  async def _write_body(self, request: Request, job: Job) -> None:
    size, prefix = 0, b""
    with job.photo.open("xb") as file:
      async for chunk in request.stream():
        size += len(chunk)
        if size > self._limits.upload_bytes:
          raise self._too_large()
        if len(prefix) < 16:
          prefix = (prefix + chunk)[:16]
        file.write(chunk)
    check_signature(prefix, job.name)

  def _too_large(self) -> HTTPException:
    most = self._limits.upload_bytes >> 20
    return HTTPException(413, f"the photo is larger than {most} MB", _CLOSE)


# A body that was not read to its end must not be read as the next request.
_CLOSE = {"Connection": "close"}


async def _refusal(request: Request, error: Exception) -> Response:
  assert isinstance(error, HTTPException)
  return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)


def _step(job: Job) -> dict[str, Any] | None:
  """Returns the stage of a photo in work, with the share of the stages before it."""
  if not job.steps:
    return None
  step = job.steps[-1]
  return {
    "stage": step.stage,
    "face": step.face,
    "faces": step.faces,
    "seconds": time.monotonic() - step.since,
    "before": STAGES.index(step.stage) / len(STAGES),
  }


def _length(request: Request) -> int:
  """Returns the size that a request promises, bytes; 0 without any."""
  text = request.headers.get("content-length", "0")
  return int(text) if text.isdecimal() else 0


def _photo_name(request: Request) -> str:
  """Returns the name of an uploaded photo for people, on one line."""
  name = urllib.parse.unquote(request.headers.get("x-name", ""))
  name = "".join(letter for letter in name if letter.isprintable()).strip()
  # Browsers name folders, too, some with the separators of their system.
  return name.replace("\\", "/").rpartition("/")[2][-120:] or "photo"


def _file_name(name: str) -> str:
  """Returns a name for the file of a photo, which every system can hold."""
  suffix = pathlib.PurePosixPath(name).suffix.lower()
  known = suffix if suffix in names.PHOTO_SUFFIXES else ".photo"
  return names.folder_names([name])[0] + known
