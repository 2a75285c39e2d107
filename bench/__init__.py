"""Benchmarks: each measures one thing the pack promises. `python run.py bench [names…]` runs them."""
