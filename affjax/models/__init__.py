"""The networks: plain functions of parameters and arrays."""
