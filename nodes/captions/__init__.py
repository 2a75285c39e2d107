"""Nodes that write joint captions."""
