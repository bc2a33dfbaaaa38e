"""What visually guided insertion is compared with: other ways to tell an InstructPix2Pix UNet about the object."""
