"""The only room that touches ComfyUI's insides: models, guiders, conditionings and managed networks as its types."""
