"""How Paint by Example is trained: from pictures with boxes to an inpainting UNet and an exemplar encoder."""
