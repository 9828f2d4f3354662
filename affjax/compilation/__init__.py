"""Programs that are compiled once, for all processes of a user.

`enable` has JAX keep compiled programs in the user's cache folder; the commands and the
training call it. `saved` is `jax.jit` for a function of a command: with the cache
enabled, its traced program is kept as well, so that a later process neither traces nor
compiles it. Importing affjax enables nothing.
"""

from affjax.compilation._folder import enable
from affjax.compilation._programs import saved

__all__ = ["enable", "saved"]
