"""Refusal of requests that do not come from the app's own page, as ASGI middleware."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
  """Answers only requests to the app's own address, and from its own page.

  The names of the host keep out pages whose domain was made to point to this machine
  (DNS rebinding). The origin keeps out pages of other sites and of other ports of this
  machine; programs that send none, such as curl, are let through. Responses forbid
  browsers to load anything from elsewhere, to keep photos, to guess types, and to show
  the page inside of another one.

  Args:
    app: The app behind it.
    port: The port on which the app is served.
    policy: Content security policy of all responses.
  """

  def __init__(self, app: App, *, port: int, policy: str) -> None:
    self._app = app
    self._hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost")}
    self._headers = [
      (name.encode(), value.encode())
      for name, value in {
        "cache-control": "no-store",
        "content-security-policy": policy,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(self), microphone=(), geolocation=()",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
      }.items()
    ]

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request."""
    if scope["type"] != "http":
      await self._app(scope, receive, send)
      return

    async def send_guarded(message: Message) -> None:
      if message["type"] == "http.response.start":
        message["headers"] = [*message.get("headers", ()), *self._headers]
      await send(message)

    if self._is_own(scope["headers"]):
      await self._app(scope, receive, send_guarded)
    else:
      await _refuse(send_guarded)

  def _is_own(self, headers: list[tuple[bytes, bytes]]) -> bool:
    """Returns whether a request names the app as its host, and itself as its origin."""
    hosts = [value for name, value in headers if name == b"host"]
    origins = [value for name, value in headers if name == b"origin"]
    if len(hosts) != 1 or hosts[0] not in self._hosts:
      return False
    return all(origin == b"http://" + hosts[0] for origin in origins)


async def _refuse(send: Send) -> None:
  text = b"this address answers its own page only, opened as http://127.0.0.1:PORT\n"
  headers = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-length", str(len(text)).encode()),
    (b"connection", b"close"),
  ]
  await send({"type": "http.response.start", "status": 403, "headers": headers})
  await send({"type": "http.response.body", "body": text})
