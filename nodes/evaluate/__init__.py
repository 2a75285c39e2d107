"""Nodes that score image sets."""
