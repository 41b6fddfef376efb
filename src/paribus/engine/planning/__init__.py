"""From learners and what the store holds to a tree of segments. Pure."""
