"""Training runs on disk, whoever trains them."""
