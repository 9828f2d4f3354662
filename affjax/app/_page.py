"""The page of the app, one HTML file, and the policy that keeps it to itself."""

import base64
import hashlib
import html
import importlib.resources

import affjax
from affjax.app._limits import Limits
from affjax.export import viewer_script, viewer_style


def page_and_policy(limits: Limits, about: str) -> tuple[str, str]:
  """Returns the HTML of the page and its content security policy.

  The policy allows the two scripts of the page by their hashes, and files of the app.

  Args:
    limits: Limits that the page tells.
    about: Phrase that names the method.
  """
  first = _resource("first.js")
  own = _resource("app.js").replace("{{upload_bytes}}", str(limits.upload_bytes))
  script = f"\n{viewer_script()}{own}"
  values = {
    "style": viewer_style() + _resource("app.css"),
    "version": affjax.__version__,
    "about": html.escape(about),
    "size": f"{limits.upload_bytes >> 20} MB",
    "results": str(limits.results),
    "first": first,
    "script": script,
  }
  text = _resource("page.html")
  for name, value in values.items():
    text = text.replace(f"{{{{{name}}}}}", value, 1)
  hashes = " ".join(f"'sha256-{_sha256(part)}'" for part in (first, script))
  policy = (
    f"default-src 'none'; script-src 'self' {hashes}; style-src 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
  )
  return text, policy


def _sha256(text: str) -> str:
  return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _resource(name: str) -> str:
  """Returns the text of a file of this package."""
  return (importlib.resources.files("affjax.app") / name).read_text("utf-8")
