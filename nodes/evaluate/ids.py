"""Ids of the comparison's nodes."""

COMPARE, CELL = "InContextCompareCheckpoints", "InContextComparisonCell"
