"""The parts of a record source that most tests do not look at."""

from affjax.data import RecordFacts


class FakeSource:
  """Base of test doubles of `RecordSource`."""

  facts = RecordFacts("test", 1, 4, 4)

  def settings(self):
    """Returns no settings."""
    return {}
