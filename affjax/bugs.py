"""Errors of affjax itself: one line for the user, the traceback on request."""

import os
import traceback


def show_traceback(error: BaseException) -> None:
  """Prints the traceback of an error on stderr if AFFJAX_DEBUG is 1."""
  if os.environ.get("AFFJAX_DEBUG") == "1":
    traceback.print_exception(error)


def bug_message(error: BaseException) -> str:
  """Returns the line that reports an unexpected error."""
  message = " ".join(str(error).split())[:300]
  name = type(error).__name__
  return f"bug: {name}: {message} (set AFFJAX_DEBUG=1 for the traceback)"


def reason(error: BaseException) -> str:
  """Returns an error as one line; those that are no fault of the user are bugs."""
  if not isinstance(error, ValueError | OSError | ImportError):
    return bug_message(error)
  return " ".join(str(error).split()) or type(error).__name__
