"""LoRA files and the recipe inside them."""
