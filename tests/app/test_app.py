"""The app refuses what it should, loses nothing else, and outlives its worker."""

import asyncio
import base64
import concurrent.futures
import contextlib
import hashlib
import html.parser
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile

import pytest
from PIL import Image

pytest.importorskip("starlette", reason="needs pip install 'affjax[app]'")
pytest.importorskip("uvicorn", reason="needs pip install 'affjax[app]'")

from affjax import commands, pool
from affjax.app import Limits, _site, _task
from affjax.app._queue import Queue
from affjax.export import CARD_FOLDER, WRITERS
from affjax.photos import OutputOptions
from tests.app import stub
from tests.app.client import running
from tests.app.stub import FILE, PNG
from tests.command_line import ROOT, run

MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def app(tmp_path_factory):
  with running(tmp_path_factory.mktemp("app"), upload_bytes=MEBIBYTE) as client:
    yield client


@pytest.fixture(scope="module")
def key(app):
  """A photo that is done."""
  key = app.add(PNG)
  assert app.finished(key)[1]["state"] == "done"
  return key


def _folders(client):
  return {path.name for path in client.folder.iterdir()}


# ------------------------------------------------------------------------- the page
class _Scripts(html.parser.HTMLParser):
  def __init__(self):
    super().__init__()
    self.scripts, self.addresses, self._inside = [], [], False

  def handle_starttag(self, tag, attrs):
    self._inside = tag == "script"
    if self._inside:
      self.scripts.append("")
    self.addresses += [value for name, value in attrs if name in ("src", "href")]

  def handle_endtag(self, tag):
    self._inside = False

  def handle_data(self, data):
    if self._inside:
      self.scripts[-1] += data


def test_the_page_loads_nothing_and_runs_its_own_scripts_only(app):
  status, headers, text = app.ask("GET", "/")
  assert status == 200
  policy = headers["content-security-policy"]
  assert policy.startswith("default-src 'none'")
  assert "http" not in policy
  assert headers["x-content-type-options"] == "nosniff"
  assert headers["x-frame-options"] == "DENY"
  assert headers["cross-origin-resource-policy"] == "same-origin"
  assert "server" not in headers
  page = _Scripts()
  page.feed(text.decode())
  assert page.addresses == ["data:,"]
  assert len(page.scripts) == 2
  for script in page.scripts:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy
  assert "a &lt;test&gt;" in text.decode()
  assert "{{" not in text.decode()


def test_every_response_has_the_headers(app):
  for path in ("/", "/photos", "/example.jpg", "/nothing"):
    assert "content-security-policy" in app.ask("GET", path)[1]
    assert app.ask("GET", path)[1]["cache-control"] == "no-store"


# ------------------------------------------------------- requests from somewhere else
@pytest.mark.parametrize(
  "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost:1", ""]
)
def test_other_hosts_are_refused(app, host):
  """A domain that was made to point to this machine gets nothing."""
  for method, path in (("GET", "/"), ("GET", "/photos"), ("POST", "/photos")):
    status, _, text = app.ask(method, path, Host=host.format(port=app.port))
    assert status == 403
    assert text.count(b"\n") == 1


@pytest.mark.parametrize(
  "origin",
  [
    *("http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1"),
    *("http://127.0.0.1", "http://localhost:{port}", "http://127.0.0.1:{port}.evil"),
  ],
)
def test_other_origins_are_refused(app, origin):
  before = len(app.photos())
  origin = origin.format(port=app.port)
  assert app.send(PNG, Origin=origin)[0] == 403
  assert app.ask("DELETE", "/photos/x", Origin=origin)[0] == 403
  assert len(app.photos()) == before


def test_the_own_origin_is_let_through(app):
  for host in ("127.0.0.1", "localhost"):
    own = f"{host}:{app.port}"
    assert app.send(PNG, Host=own, Origin=f"http://{own}")[0] == 202


def test_only_this_machine_can_reach_it(app):
  with pytest.raises(OSError), socket.create_connection(("127.0.0.2", app.port), 2):
    pass


# ------------------------------------------------------------------ hostile uploads
@pytest.mark.parametrize(
  ("content", "reason"),
  [
    (b"", "not an image"),
    (b"\xff", "not an image"),
    (b"%PDF-1.7 and more of it", "a PDF"),
    (b"<html><script>alert(1)</script>", "not an image"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    (b"PK\x03\x04 an archive of some kind", "not an image"),
    (b"\0\0\0\x20ftypisom video of a phone", "a video"),
    (b"%!PS-Adobe-3.0 EPSF-3.0 (run me)", "not an image"),
    (b"\x80\x04\x95 a pickle, perhaps", "not an image"),
  ],
)
def test_files_that_are_no_photos_are_refused_at_once(app, content, reason):
  before = _folders(app)
  status, text = app.send(content, "holiday.jpg", Content_Type="image/jpeg")
  assert status == 415
  assert text.startswith(f"photo 'holiday.jpg': {reason}, expected one of ")
  assert text.count("\n") == 1
  assert _folders(app) == before


def test_too_large_uploads_are_refused_before_they_are_read(app):
  before = _folders(app)
  status, headers, text = app.ask("POST", "/photos", Content_Length=str(1 << 40))
  assert (status, text) == (413, b"the photo is larger than 1 MB\n")
  assert headers["connection"] == "close"
  assert _folders(app) == before


def test_uploads_that_do_not_tell_their_size_are_cut_off(app):
  before = _folders(app)
  with socket.create_connection(("127.0.0.1", app.port), 60) as link:
    link.sendall(
      b"POST /photos HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
      b"Transfer-Encoding: chunked\r\n\r\n" % app.port
    )
    chunk = PNG + bytes((1 << 16) - len(PNG))
    sent = 0
    with contextlib.suppress(ConnectionError):
      while sent < 64 * MEBIBYTE:
        link.sendall(b"10000\r\n" + chunk + b"\r\n")
        sent += len(chunk)
    assert sent < 64 * MEBIBYTE
    assert link.recv(100).startswith(b"HTTP/1.1 413 ")
  assert _folders(app) == before


def _begun_upload(client, promised=1000):
  link = socket.create_connection(("127.0.0.1", client.port), 60)
  link.sendall(
    b"POST /photos HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: %d\r\n\r\n"
    % (client.port, promised)
  )
  link.sendall(PNG)
  return link


def test_slow_and_broken_uploads_lose_their_place(tmp_path):
  with running(tmp_path, upload_seconds=0.5, waiting=1) as client:
    with _begun_upload(client) as link:
      assert client.send(PNG)[0] == 503
      assert link.recv(100).startswith(b"HTTP/1.1 408 ")
    _begun_upload(client).close()
    _until(lambda: not client.photos())
    assert _folders(client) == set()
    assert client.finished(client.add(PNG))[1]["state"] == "done"


def _until(reached, seconds=30):
  end = time.monotonic() + seconds
  while not reached():
    assert time.monotonic() < end
    time.sleep(0.02)


@pytest.mark.parametrize(
  ("name", "told", "file"),
  [
    ("portrait.JPG", "portrait.JPG", "portrait.jpg"),
    ("../../etc/passwd", "passwd", "passwd.photo"),
    ("C:\\photos\\con.png", "con.png", "_con.png"),
    ("a\r\nSet-Cookie: b.png", "aSet-Cookie: b.png", "aSet-Cookie_ b.png"),
    ("", "photo", "photo.photo"),
    ("..", "..", "photo.photo"),
    ("<img src=x>.png", "<img src=x>.png", "_img src_x_.png"),
    ("é" * 300 + ".png", "é" * 116 + ".png", None),
  ],
)
def test_names_are_only_names(app, name, told, file):
  key = app.add(PNG, name)
  assert app.finished(key)[1]["name"] == told
  assert file is None or _site._file_name(told) == file
  assert _folders(app) >= {key}


# ------------------------------------------------------------------------- results
def test_results_can_be_had(app, key):
  status, headers, content = app.ask("GET", f"/photos/{key}/face1/head.glb")
  assert (status, content) == (200, FILE)
  assert headers["content-type"] == "model/gltf-binary"
  assert headers["content-disposition"] == 'attachment; filename="head.glb"'
  _, headers, content = app.ask("GET", f"/photos/{key}/heads.zip")
  assert zipfile.ZipFile(io.BytesIO(content)).namelist() == ["portrait/face1/head.glb"]
  assert headers["content-disposition"] == 'attachment; filename="portrait.zip"'
  status, told = app.finished(key)
  assert (status, told["cards"], told["faces"]) == (200, ["<p>card</p>"], 1)


@pytest.mark.parametrize(
  "path",
  [
    *("face1/secret.txt", "face1/../face1/head.glb", "face1/..%2fface1%2fhead.glb"),
    *("face1/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "face1//etc/passwd"),
    *("face0/head.glb", "face2/head.glb", "face-1/head.glb", "face1/", "face1"),
    *("face1/page", "face1/head.glb/", "face1/head.glb%00", "face1\\head.glb"),
    *("portrait/face1/head.glb", "heads/portrait/face1/head.glb", "face1/diffuse.png"),
    "face99999999999999999999/head.glb",
  ],
)
def test_nothing_else_can_be_had(app, key, path):
  status, _, text = app.ask("GET", f"/photos/{key}/{path}")
  assert status == 404
  assert len(text) < 30


@pytest.mark.parametrize("key", ["nobody", "..", "%2e%2e", "%2e", "*", "a" * 5000])
def test_unknown_photos(app, key):
  for path in ("", "/heads.zip", "/face1/head.glb"):
    assert app.ask("GET", f"/photos/{key}{path}")[0] == 404
  assert app.ask("DELETE", f"/photos/{key}")[0] == 404


def test_other_methods_are_refused(app):
  for method in ("PUT", "PATCH", "OPTIONS", "TRACE"):
    assert app.ask(method, "/photos")[0] == 405


def test_every_file_that_is_written_can_be_had():
  pages = ("after.jpg", "before.jpg", "moves.js", "position.png", "view.js")
  expected = {w.file for w in WRITERS} | {f"{CARD_FOLDER}/{name}" for name in pages}
  assert set(_site.FILES) == expected


def test_photos_can_be_removed(app):
  key = app.add(PNG)
  app.finished(key)
  assert app.ask("DELETE", f"/photos/{key}")[0] == 204
  assert app.ask("GET", f"/photos/{key}")[0] == 404
  assert key not in _folders(app)


def test_the_example_is_a_photo(app):
  _, headers, content = app.ask("GET", "/example.jpg")
  assert headers["content-type"] == "image/jpeg"
  Image.open(io.BytesIO(content)).verify()


# ----------------------------------------------------------- queue, limits and worker
def test_the_queue_is_bounded(tmp_path):
  with running(tmp_path, waiting=2, photo_seconds=1.5) as client:
    first = client.add(PNG + b"hang")
    _until(lambda: client.photos()[0]["state"] == "running")
    assert client.ask("DELETE", f"/photos/{first}")[0] == 409
    second, third = client.add(PNG), client.add(PNG)
    assert [photo["place"] for photo in client.photos()] == [0, 1, 2]
    status, headers, text = client.ask("POST", "/photos", PNG)
    assert (status, text) == (503, b"too many photos wait; try again\n")
    assert headers["retry-after"] == "2"
    # A photo that waits can be taken out of the queue.
    assert client.ask("DELETE", f"/photos/{second}")[0] == 204
    status, told = client.finished(first)
    assert (status, told["state"]) == (422, "failed")
    assert told["reason"] == "it took longer than 2 s and was stopped"
    assert client.finished(third)[1]["state"] == "done"
    assert _folders(client) == {third}


@pytest.mark.parametrize("limits", [{"results": 2}, {"result_bytes": 250}])
def test_old_results_are_removed(tmp_path, limits):
  with running(tmp_path, **limits) as client:
    keys = [client.add(PNG) for _ in range(4)]
    client.finished(keys[-1])
    _until(lambda: len(client.photos()) == 2)
    assert [photo["key"] for photo in client.photos()] == keys[2:]
    assert _folders(client) == set(keys[2:])


def test_the_newest_result_is_kept_however_large(tmp_path):
  with running(tmp_path, result_bytes=1) as client:
    key = client.add(PNG)
    client.finished(key)
    time.sleep(0.1)
    assert client.ask("GET", f"/photos/{key}/face1/head.glb")[2] == FILE


def test_a_photo_that_kills_the_worker_fails_alone(tmp_path):
  with running(tmp_path) as client:
    before = client.worker.process_id
    keys = [client.add(PNG + what) for what in (b"", b"kill", b"bad", b"")]
    told = [client.finished(key)[1] for key in keys]
    assert [t["state"] for t in told] == ["done", "failed", "failed", "done"]
    assert told[1]["reason"].startswith("the worker process died")
    assert told[2]["reason"] == "no face found"
    assert client.worker.process_id != before
    assert _folders(client) == {keys[0], keys[3]}


def test_the_stages_of_a_photo_are_told(tmp_path):
  """Those that the worker tells, and no others."""
  with running(tmp_path) as client:
    key = client.add(PNG + b"paint")
    painting = lambda: (client.photos()[0]["step"] or {}).get("stage") == "paint"
    _until(painting)
    step = client.photos()[0]["step"]
    assert (step["face"], step["faces"]) == (2, 3)
    assert 0 < step["before"] < 1
    assert step["seconds"] < 60
    _, told = client.finished(key)
  assert told["step"] is None
  assert list(told["times"]) == ["read", "detect", "paint"]
  assert told["times"]["paint"] > 0.9 > told["times"]["detect"]


def test_an_idle_worker_that_dies_is_replaced(tmp_path):
  with running(tmp_path) as client:
    # After a photo, the warm-up is over.
    assert client.finished(client.add(PNG))[1]["state"] == "done"
    os.kill(client.worker.process_id, signal.SIGKILL)
    _until(lambda: not client.worker.is_alive)
    assert client.finished(client.add(PNG))[1]["state"] == "done"


def test_fifty_uploads_and_a_kill_in_the_middle(tmp_path):
  """All are answered, the app goes on, and memory and disk stay bounded."""
  size, waiting, results = 2 * MEBIBYTE, 15, 10
  content = PNG + bytes(size - len(PNG))
  most_folders, stop = [0], threading.Event()
  with running(tmp_path, waiting=waiting, results=results) as client:

    def watch():
      while not stop.wait(0.01):
        most_folders[0] = max(most_folders[0], len(_folders(client)))

    def one(number):
      status, text = client.send(content, f"{number}.png")
      if status != 202:
        return "refused" if status == 503 else text
      if number == 25:
        os.kill(client.worker.process_id, signal.SIGKILL)
      return json.loads(text)["key"]

    watcher = threading.Thread(target=watch)
    watcher.start()
    memory = _resident()
    # A twenty-sixth photo that is refused kills nobody; this one is sent until taken.
    with concurrent.futures.ThreadPoolExecutor(50) as many:
      answers = list(many.map(one, range(50)))
    while answers[25] == "refused":
      time.sleep(0.05)
      answers[25] = one(25)
    grown = _resident() - memory
    _until(lambda: all(p["state"] in ("done", "failed") for p in client.photos()))
    stop.set()
    watcher.join()
    states = {photo["key"]: photo["state"] for photo in client.photos()}
    taken = [answer for answer in answers if answer != "refused"]
    assert all(len(key) == 16 for key in taken)
    assert len(taken) >= waiting
    # Results beyond the limit were removed; the newest are there.
    assert set(states) <= set(taken)
    assert len(states) == results
    assert most_folders[0] <= waiting + results + 2
    # Fifty photos are 100 MB, and copies would be more.
    assert grown < 50 * MEBIBYTE
    assert client.finished(client.add(PNG))[1]["state"] == "done"


def _resident():
  """Memory of this process, bytes."""
  with open("/proc/self/statm") as file:
    return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_worker_that_cannot_be_made_says_why():
  worker = pool.Worker(stub.make_nothing)
  with pytest.raises(ValueError, match=r"^no weights$"):
    worker.start()
  worker.stop()
  with pytest.raises(pool.WorkerDied, match="stopped"):
    worker.do({}, seconds=1)


class _Method:
  """Notes what it is asked to reconstruct, and fails."""

  about = "a <test>"

  def __init__(self):
    self.seen = []

  def heads_of(self, pixels, path):
    self.seen.append((pixels.shape, path.name))
    raise MemoryError


def test_the_worker_warms_up_on_the_portrait_and_survives():
  method = _Method()
  task = _task.make_task(lambda: method, OutputOptions())
  assert task({}, print) == {}
  assert method.seen == [((512, 512, 3), "astronaut.jpg")]


@pytest.mark.parametrize("problem", [pool.WorkerDied, ValueError])
def test_the_warm_up_comes_before_the_photos(tmp_path, problem):
  tasks = []

  class Worker(pool.Worker):
    def do(self, task, *, seconds, told=None):
      tasks.append(task)
      if not task:
        raise problem("out of memory")
      return {"reason": "no face found"}

  async def one_photo():
    queue = Queue(Worker(stub.make_task), tmp_path, Limits())
    job = queue.add("a photo", "a.png")
    queue.submit(job)
    work = asyncio.ensure_future(queue.work())
    while not job.finished:
      await asyncio.sleep(0.01)
    work.cancel()
    return job

  job = asyncio.run(one_photo())
  assert job.reason == "no face found"
  assert [task.get("photo") for task in tasks] == [None, str(job.photo)]


def test_limits_are_positive():
  with pytest.raises(ValueError, match="waiting must be positive, got 0"):
    Limits(waiting=0)


# ---------------------------------------------------------------------- the command
def test_wrong_options_are_one_line(tmp_path):
  with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
    done = run("app", "--port", port)
  assert done.exit_code == 2
  assert f"port {port} cannot be used: Address already in use; choose" in done.stderr
  for options, words in (
    (("--port", "80"), "port must be 0 or from 1024 to 65535, got 80"),
    (("--keep", "0"), "keep must be at least 1, got 0"),
    (("--format", "stl"), "format must be some of glb, obj, ply, usdz, got 'stl'"),
    (("--port", "0", "-o", __file__), "exists and is not a folder"),
  ):
    done = run("app", *options)
    assert done.exit_code == 2
    assert words in done.stderr


def test_without_the_extra_one_line_names_it(monkeypatch):
  monkeypatch.delattr("affjax.app._site")
  monkeypatch.delitem(sys.modules, "affjax.app._site")
  monkeypatch.setitem(sys.modules, "starlette.applications", None)
  done = run("app", "--port", "0")
  assert done.exit_code == 2
  assert "install them by pip install 'affjax[app]'" in done.stderr


def test_a_missing_workdir_is_told_before_the_page_is_served(tmp_path):
  done = run("app", "--port", 0, "--method", "networks", "--weights", tmp_path / "no")
  assert done.exit_code == 2
  assert "no such training workdir" in done.stderr
  assert not done.stdout


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_cleanly(tmp_path, end):
  command = [sys.executable, "-m", "affjax.commands", "app", "--port", "0"]
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
  with subprocess.Popen(
    command,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env={**environment, "TMPDIR": str(tmp_path)},
  ) as process:
    address = process.stdout.readline().split()[0]
    assert address.startswith("http://127.0.0.1:")
    (folder,) = tmp_path.glob("affjax-app-*")
    process.send_signal(end)
    _, errors = process.communicate(timeout=60)
  assert process.returncode == 0
  assert errors.splitlines() == [
    "starting; a photo that comes at once waits for the warm-up"
  ]
  assert not folder.exists()


def test_the_command_is_listed():
  assert "app" in commands.COMMANDS
  assert "affjax app" in run("app", "--help").stdout
