"""The one training engine: a system brings its loss and its data, the engine brings everything else."""
