"""Weight files: which are known, where they come from, how they are read, and what their tensors are called."""
