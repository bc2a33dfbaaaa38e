"""From noise to a picture without ComfyUI: noise levels, guidance, and an InstructPix2Pix UNet's run."""
