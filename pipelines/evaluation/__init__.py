"""How well an object was inserted: benchmarks, metrics, one protocol and one report for any method."""
