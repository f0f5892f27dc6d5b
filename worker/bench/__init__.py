"""Benchmarks: what this machine does, as ratios measured in one run."""
