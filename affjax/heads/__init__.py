"""Morphable head models and templates, as plain frozen data."""
