"""Embedded data with its licenses, and the loader that verifies it."""
