"""ComfyUI-Visual-Insertion: put an object into a picture by showing it."""

WEB_DIRECTORY = "./web"


async def comfy_entrypoint():
    from .nodes import VisualInsertionExtension

    return VisualInsertionExtension()
