"""The procedural world: toys in rooms, their triplets, and the words for them."""
