"""Files of edit models that are not ours: what the host's own templates load, and where they offer it.

Each row is taken from `properties.models` of the template that is named, as comfyui-workflow-templates 0.11.27 has it,
which knows no hashes. Licences are their authors': Qwen-Image's and Qwen3's as QwenLM says on GitHub, Qwen2.5-VL-7B's
as its model card does, the Lightning LoRAs' as ModelTC/Qwen-Image-Lightning does, klein 4B's and the autoencoder's as
black-forest-labs/flux2 does (FLUX.2 dev and klein 9B are not for commerce).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EditorFile:
    """A file that a stock loader reads."""

    name: str
    folder: str  # of the host's models
    repository: str  # on Hugging Face
    path: str
    licence: str

    @property
    def offer(self) -> dict[str, str]:
        """As the front end wants it in `properties.models`."""
        url = f"https://huggingface.co/{self.repository}/resolve/main/{self.path}"
        return {"name": self.name, "url": url, "directory": self.folder}


APACHE = "Apache 2.0"

# image_qwen_image_edit_2511, and the text encoder from where image_qwen_image_edit_2509 has it: 2511 has the same file
# beside those of a video model
QWEN_EDIT = EditorFile(
    "qwen_image_edit_2511_fp8mixed.safetensors",
    "diffusion_models",
    "Comfy-Org/Qwen-Image-Edit_ComfyUI",
    "split_files/diffusion_models/qwen_image_edit_2511_fp8mixed.safetensors",
    APACHE,
)
QWEN_LIGHTNING = EditorFile(
    "Qwen-Image-Edit-2511-Lightning-4steps-V1.0-bf16.safetensors",
    "loras",
    "lightx2v/Qwen-Image-Edit-2511-Lightning",
    "Qwen-Image-Edit-2511-Lightning-4steps-V1.0-bf16.safetensors",
    APACHE,
)
QWEN_TEXT = EditorFile(
    "qwen_2.5_vl_7b_fp8_scaled.safetensors",
    "text_encoders",
    "Comfy-Org/Qwen-Image_ComfyUI",
    "split_files/text_encoders/qwen_2.5_vl_7b_fp8_scaled.safetensors",
    APACHE,
)
QWEN_VAE = EditorFile(
    "qwen_image_vae.safetensors",
    "vae",
    "Comfy-Org/Qwen-Image_ComfyUI",
    "split_files/vae/qwen_image_vae.safetensors",
    APACHE,
)

# image_flux2_klein_image_edit_4b_distilled
KLEIN = EditorFile(
    "flux-2-klein-4b-fp8.safetensors",
    "diffusion_models",
    "black-forest-labs/FLUX.2-klein-4b-fp8",
    "flux-2-klein-4b-fp8.safetensors",
    APACHE,
)
KLEIN_TEXT = EditorFile(
    "qwen_3_4b.safetensors",
    "text_encoders",
    "Comfy-Org/z_image_turbo",
    "split_files/text_encoders/qwen_3_4b.safetensors",
    APACHE,
)
KLEIN_VAE = EditorFile(
    "flux2-vae.safetensors", "vae", "Comfy-Org/flux2-dev", "split_files/vae/flux2-vae.safetensors", APACHE
)
EDITOR_FILES = (QWEN_EDIT, QWEN_LIGHTNING, QWEN_TEXT, QWEN_VAE, KLEIN, KLEIN_TEXT, KLEIN_VAE)
