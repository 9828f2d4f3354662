"""Geometry: rotations, the camera, meshes, mirroring, vertices and UV maps."""
