"""Edit a small part of a large picture at the model's own resolution, and leave every other pixel as it is."""
