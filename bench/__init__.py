"""Benchmarks: they measure the gateway from outside and import nothing of it."""
