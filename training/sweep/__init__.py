"""Many trainings compared: which rank, learning rate, number of steps … a dataset wants.

`plan` says which trainings there are, `curve` what was measured of each, `judge` which of them are hopeless, `folder` keeps
all that on disk, `work` trains what is next, and `table` shows what came of it.
"""
