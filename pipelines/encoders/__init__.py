"""What sees a picture or reads a text for a method: vision and text encoders without ComfyUI."""
