"""What artists type to find a node that puts an object into a picture: forty-two searches.

A trial in the real front end typed forty-two words and wrote down twenty-one of them, with what came: those are the
first three lists. The others are not on record; the fourth list has as many of the same trade in their place.
"""

FOUND_NOTHING = (
    "add object",
    "place object",
    "paste object",
    "inpaint reference",
    "ip adapter",
    "ipadapter",
    "put object",
    "product placement",
    "replace object",
    "add to scene",
)
FOUND_NONE_OF_OURS = ("place", "reference image", "composite", "photo", "combine images", "compose", "swap")
FOUND_FEW_OF_OURS = ("visual insertion", "insert object", "insert", "inpaint")
OF_THE_SAME_TRADE = (
    "object",
    "reference",
    "subject",
    "exemplar",
    "paint by example",
    "swap object",
    "insert image",
    "add image",
    "merge images",
    "blend",
    "photobash",
    "collage",
    "product photo",
    "harmonize",
    "shadow",
    "cutout",
    "layers",
    "keep background",
    "stitch",
    "crop",
    "bounding box",
)
WORDS = (*FOUND_NOTHING, *FOUND_NONE_OF_OURS, *FOUND_FEW_OF_OURS, *OF_THE_SAME_TRADE)
