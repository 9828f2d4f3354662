"""An app in a thread of the test, and the requests to it."""

import contextlib
import functools
import http.client
import json
import threading
import time
import urllib.parse

from affjax import pool
from affjax.app import Limits, _serving, _site
from tests.app import stub


class Client:
  """Requests to the app as they are given: nothing is normalized."""

  def __init__(self, port, worker, folder):
    self.port, self.worker, self.folder = port, worker, folder

  def ask(self, method, path, body=None, **headers):
    """Returns status, headers and body of the answer."""
    link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
    try:
      link.putrequest(method, path, skip_host="Host" in headers)
      if body is not None:
        link.putheader("Content-Length", str(len(body)))
      for name, value in headers.items():
        link.putheader(name.replace("_", "-"), value)
      link.endheaders()
      if body is not None:
        with contextlib.suppress(ConnectionError):
          link.send(body)
      answer = link.getresponse()
      return answer.status, dict(answer.getheaders()), answer.read()
    finally:
      link.close()

  def send(self, content, name="portrait.png", **headers):
    """Returns status and text of the answer to a photo."""
    name = urllib.parse.quote(name)
    status, _, text = self.ask("POST", "/photos", content, X_Name=name, **headers)
    return status, text.decode()

  def add(self, content, name="portrait.png"):
    """Returns the key of a photo that is taken."""
    status, text = self.send(content, name)
    assert status == 202, text
    return json.loads(text)["key"]

  def photos(self):
    """Returns what the page is told of all photos."""
    return json.loads(self.ask("GET", "/photos")[2])["photos"]

  def finished(self, key, seconds=120):
    """Returns the status and what is told of a photo, after it is done or failed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
      status, _, text = self.ask("GET", f"/photos/{key}")
      told = json.loads(text)
      if told["state"] in ("done", "failed"):
        return status, told
      time.sleep(0.02)
    raise TimeoutError(f"the photo is still {told['state']}")


@contextlib.contextmanager
def running(folder, make=stub.make_task, **limits):
  """Yields a client of an app that runs in a thread."""
  worker = pool.Worker(make)
  with contextlib.closing(_serving.listening(0)) as place:
    port = place.getsockname()[1]
    app = _site.site(worker, folder, Limits(**limits), port=port, about="a <test>")
    server = _site.server(app)
    run = functools.partial(server.run, sockets=[place])
    thread = threading.Thread(target=run)
    worker.start()
    thread.start()
    try:
      yield Client(port, worker, folder)
    finally:
      server.should_exit = True
      thread.join(30)
      worker.stop()
      assert not thread.is_alive()
