"""Embedded data with its licences, and the loader that checks it."""
