"""A small text-to-picture transformer of the FLUX family for the playroom, on which Add-It is proved."""
