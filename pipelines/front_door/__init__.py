"""The front door in Python, `import visual_insertion_pack as vi`: pipelines that are called as those of diffusers."""
