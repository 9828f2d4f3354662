"""Providers of the pseudo ground truth of a photo's geometry."""
