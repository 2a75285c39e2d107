"""Nodes that give a model some panels and let it paint the others."""
