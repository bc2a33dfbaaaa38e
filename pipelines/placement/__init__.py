"""A cut-out put into a scene: at a size, on the ground, in the scene's light and with a shadow of its own."""
