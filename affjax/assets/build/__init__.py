"""Scripts that build the embedded assets from packages of a registry."""
