"""Panels on one canvas: where they are, how pictures get into them and back out."""
