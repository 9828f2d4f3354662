"""Sources of training records, their cache, and the Grain pipeline over them."""
