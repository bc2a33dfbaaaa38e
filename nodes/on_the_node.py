"""What a node shows on itself: a picture, and sentences that web/js puts below its widgets."""

from dataclasses import fields
from typing import Any

from comfy_api.latest import io, ui

# What is shown stays where a result is cached or the page loaded anew; older hosts (0.18.2) show it when it is made.
_STAYS = "has_intermediate_output"
STAYS: dict[str, Any] = {_STAYS: True} if _STAYS in {field.name for field in fields(io.Schema)} else {}


def on_the_node(cls, *sentences: str, picture=None, **values) -> dict[str, Any]:
    """A node's `ui`: sentences that are not empty, the IMAGE `picture`, and `values` for who calls the host's API."""
    shown: dict[str, Any] = {} if picture is None else ui.PreviewImage(picture, cls=cls).as_dict()
    return {**shown, "text": [sentence for sentence in sentences if sentence], **values}
