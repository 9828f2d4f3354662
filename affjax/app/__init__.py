"""A local page on which photos become heads: `affjax app`.

`serve` answers a browser on this machine. Photos are reconstructed one after another in
a worker process, so that one that kills it takes nothing else down. Starlette and
uvicorn are imported by `serve`.
"""

from affjax.app._limits import Limits
from affjax.app._serving import serve

__all__ = ["Limits", "serve"]
