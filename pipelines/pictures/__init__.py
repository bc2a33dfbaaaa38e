"""Pictures and masks as people have them: files, scenes, objects, and what an edit changed."""
