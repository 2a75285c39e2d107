"""Compare many trainings to find the rank, learning rate, number of steps and so on that suit a dataset.

`plan` lists the trainings, `curve` holds the losses of one, `judge` decides which are hopeless, `folder` keeps everything on
disk, `work` trains the next one, and `table` shows the results.
"""
