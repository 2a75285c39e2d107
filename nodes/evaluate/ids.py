"""Ids of the comparison's nodes, and the choice that names no run."""

COMPARE, CELL = "InContextCompareCheckpoints", "InContextComparisonCell"
NO_RUN = "none"
