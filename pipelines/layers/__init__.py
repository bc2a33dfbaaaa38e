"""An edit as layers: the scene as it was, its shadow, its light and the object, and the file that holds them."""
