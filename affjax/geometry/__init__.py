"""Rotations, the camera, meshes and the way between vertices and UV maps."""
