"""Procedural photographs of random heads, with the exact maps behind them."""
