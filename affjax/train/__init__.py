"""Training: one step, one loop; a stage is data."""
