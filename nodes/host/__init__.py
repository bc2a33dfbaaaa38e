"""The only room that touches ComfyUI's insides: guiders, managed modules, small models, folders."""
