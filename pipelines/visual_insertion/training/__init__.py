"""How visually guided insertion is trained: from triplets of pictures to an embedding optimizer and a UNet patch."""
