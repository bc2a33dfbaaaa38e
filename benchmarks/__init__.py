"""Benchmarks: each prints medians and ratios and writes them as JSON, with a plot where matplotlib is there."""
