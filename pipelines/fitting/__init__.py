"""The size contract with models that edit pictures: fitted without stretching, and undone to the pixel."""
