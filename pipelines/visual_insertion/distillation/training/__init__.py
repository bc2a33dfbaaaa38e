"""Training of students on runs of their teacher."""
