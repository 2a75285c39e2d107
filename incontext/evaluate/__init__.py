"""How good generated sets are, and which checkpoint makes the best ones."""
