"""What dev.py, the tests and the benchmarks share: the environment, the real host, the demo."""
