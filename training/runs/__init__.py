"""Training runs on disk, for both trainers.

run_folder   read and write the files of a run
monitor      what the training panel shows
labels       names and notes that the user gives to runs
removal      delete runs
average      average a run's checkpoints
claims       locks on a run: who may change it, and who watches it
cards        which run uses which graphics card
process      processes that outlive the one that started them
supervise    start a run's process, find it again, end it
event_tail   new events of a run
requests     stop, save and sample on request
output       the last lines of a process's output
progress     a training's progress in words
stopping     how long a stop may take
path_length  how long paths may be on Windows
choices      the user's choices
"""
