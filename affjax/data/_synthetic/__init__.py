"""Procedural photos of random heads, with their exact maps."""
