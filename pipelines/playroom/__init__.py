"""A procedural world of toys: unlimited insertion triplets with ground truth, and the small models trained on it."""
