"""A run as a page: losses, errors of held-out heads, pictures. `affjax view` serves it.

The page is one file without any other; it asks its server for `data.json` and for the
pictures, and shows what is new every few seconds.
"""

import functools
import http.server
import importlib.resources
import json
import math
import pathlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from affjax.train import workdir
from affjax.train.stages import EVERY_STAGE

LOCAL = "127.0.0.1"
"""The only address that a run is served at."""

# Most points of a curve. More are thinned out evenly: a page has no more columns.
_POINTS = 1000
# Most bytes of the log that are read, from its end: some 100,000 lines.
_MOST = 64 << 20
_PICTURE = re.compile(r"(stage[123])_(\d{6,})\.png")

Answer = tuple[HTTPStatus, str, bytes]


def data_of(root: pathlib.Path) -> dict[str, Any]:
  """Returns what the page shows of a workdir, as JSON holds it.

  Returns:
    `name`, `pictures` (names by stage, in the order of their steps), and `stages`: by
    name, with `step`, `total_steps`, `finished`, `curves` (points `[step, value]` by
    name; values that are not finite are None), `facts` of the summary, and `silent`,
    seconds since the last line of the log.

  Raises:
    WorkdirError: The folder is not a workdir of `affjax train`.
  """
  stages = {name: _stage(root / name) for name in EVERY_STAGE if (root / name).is_dir()}
  if not stages:
    raise workdir.WorkdirError(f"{root} is not a workdir of affjax train")
  return {
    "name": root.absolute().name,
    "stages": stages,
    "pictures": {name: _pictures(root, name) for name in stages},
  }


def _stage(folder: pathlib.Path) -> dict[str, Any]:
  """Returns the curves and the facts of one stage."""
  summary = workdir.read_summary(folder.parent, folder.name)
  curves: dict[str, list[tuple[int, float | None]]] = {}
  step, log = 0, folder / "metrics.jsonl"
  for line in _lines(log):
    step = max(step, line["step"])
    for name, value in line.items():
      if name != "step" and isinstance(value, int | float):
        finite = float(value) if math.isfinite(value) else None
        curves.setdefault(name, []).append((line["step"], finite))
  known = ("features", "data", "seed", "seconds", "images_per_second", "best_step")
  return {
    "step": step,
    "total_steps": summary.get("total_steps"),
    "finished": bool(summary.get("finished")),
    "silent": time.time() - log.stat().st_mtime if log.exists() else None,
    "facts": {name: summary[name] for name in known if summary.get(name) is not None},
    "curves": {name: _thinned(points) for name, points in curves.items()},
  }


def _lines(path: pathlib.Path) -> Iterator[Mapping[str, Any]]:
  """Yields the lines of a log; the last one may be half written, or an older one."""
  try:
    with path.open("rb") as stream:
      stream.seek(max(0, path.stat().st_size - _MOST))
      for text in stream:
        try:
          line = json.loads(text)
        except ValueError:
          continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
          yield line
  except OSError:
    return


def _thinned(points: list[Any]) -> list[Any]:
  """Returns at most `_POINTS` points, the first and the last among them."""
  if len(points) <= _POINTS:
    return points
  last = len(points) - 1
  return [points[round(k * last / (_POINTS - 1))] for k in range(_POINTS)]


def _pictures(root: pathlib.Path, stage: str) -> list[str]:
  found = (path.name for path in (root / "pictures").glob(f"{stage}_*.png"))
  return sorted(
    (name for name in found if _PICTURE.fullmatch(name)),
    key=lambda name: int(name[len(stage) + 1 : -4]),
  )


def answer(root: pathlib.Path, path: str, host: str) -> Answer:
  """Returns status, content type and content for a request.

  Args:
    root: The workdir.
    path: Path of the request.
    host: Its header `Host`. A page of the internet that resolves its own name to this
      machine is refused.
  """
  if host.rpartition(":")[0] not in (LOCAL, "localhost"):
    return HTTPStatus.FORBIDDEN, "text/plain", b"only for this machine"
  if path == "/":
    page = importlib.resources.files("affjax.train") / "run_page.html"
    return HTTPStatus.OK, "text/html; charset=utf-8", page.read_bytes()
  try:
    if path == "/data.json":
      content = json.dumps(data_of(root), allow_nan=False).encode()
      return HTTPStatus.OK, "application/json", content
    name = path.removeprefix("/pictures/")
    if _PICTURE.fullmatch(name):
      return HTTPStatus.OK, "image/png", (root / "pictures" / name).read_bytes()
  except FileNotFoundError:
    pass
  except (OSError, workdir.WorkdirError) as error:
    return HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", str(error).encode()
  return HTTPStatus.NOT_FOUND, "text/plain", b"not found"


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers requests about one workdir."""

  def __init__(self, root: pathlib.Path, *rest: Any):
    self._root = root
    super().__init__(*rest)

  def do_GET(self) -> None:
    """Answers a request for the page, the data or a picture."""
    status, kind, content = answer(self._root, self.path, self.headers.get("Host", ""))
    self.send_response(status)
    self.send_header("Content-Type", kind)
    self.send_header("Content-Length", str(len(content)))
    self.send_header("Cache-Control", "no-store")
    self.send_header("X-Content-Type-Options", "nosniff")
    policy = "default-src 'self' 'unsafe-inline'; img-src 'self'"
    self.send_header("Content-Security-Policy", policy)
    self.end_headers()
    self.wfile.write(content)

  def log_message(self, format: str, *args: Any) -> None:
    """Logs nothing: the terminal belongs to the command."""


def serve(root: pathlib.Path, port: int, ready: Callable[[str], None]) -> None:
  """Serves the page of a workdir on this machine until it is interrupted.

  Args:
    root: The workdir.
    port: Port to listen at; 0 takes a free one.
    ready: Called with the address once the page is served.

  Raises:
    WorkdirError: The folder is not a workdir of `affjax train`.
    OSError: The port is taken.
  """
  data_of(root)
  handler = functools.partial(_Handler, root)
  with http.server.ThreadingHTTPServer((LOCAL, port), handler) as server:
    server.daemon_threads = True
    ready(f"http://{LOCAL}:{server.server_port}/")
    server.serve_forever()
