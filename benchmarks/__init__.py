"""Benchmarks: what diorama costs, beside native runs and other tools; `make bench` runs them."""
