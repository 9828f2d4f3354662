"""From photos to a data set: inputs, units of work, part files, shards, report."""
