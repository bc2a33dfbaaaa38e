"""Paint by Example: an exemplar picture painted into a mask (Yang et al., CVPR 2023)."""
