"""Joint captions: one text that describes a whole set."""
