"""Training: one step and one loop for every stage, which is data."""
