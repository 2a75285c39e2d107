"""Nodes that train a LoRA."""
