"""Visually guided insertion: an object's picture, through an embedding optimizer, steers an InstructPix2Pix UNet."""
