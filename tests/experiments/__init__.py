"""Tests of experiments whose results are not checked by an assertion elsewhere."""
