"""Pseudo ground truth of a photo's geometry, from whoever can give it."""
