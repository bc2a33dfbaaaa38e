"""Model folders of the pack."""

from pathlib import Path

import folder_paths

EMBEDDING_OPTIMIZERS = "embedding_optimizers"
EXTENSIONS = {".safetensors", ".sft", ".pt"}  # .pt: the authors' released file, read as plain tensors only


def register_model_folders() -> None:
    """Add `models/embedding_optimizers`, after any folders a user's extra_model_paths.yaml has set."""
    folder_paths.add_model_folder_path(EMBEDDING_OPTIMIZERS, str(Path(folder_paths.models_dir) / EMBEDDING_OPTIMIZERS))
    paths, extensions = folder_paths.folder_names_and_paths[EMBEDDING_OPTIMIZERS]
    folder_paths.folder_names_and_paths[EMBEDDING_OPTIMIZERS] = (paths, set(extensions) | EXTENSIONS)
