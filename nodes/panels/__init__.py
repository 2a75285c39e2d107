"""Nodes for layouts, stitching and splitting."""
