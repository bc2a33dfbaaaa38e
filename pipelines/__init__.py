"""The methods, in torch: usable without ComfyUI, and never importing it."""
