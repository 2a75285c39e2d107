"""HTTP routes of the pack, and their answers."""
