"""Add-it: training-free insertion by attention to a hidden source row (arXiv 2411.07232)."""
