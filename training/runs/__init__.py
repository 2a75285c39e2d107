"""Training runs on disk, whoever trains them.

run_folder   the files of a run, read and written
monitor      what the training panel shows
labels       names and notes that the user gives to runs
removal      deleting runs
claims       who may decide about a run, or watches it
cards        which run trains on which graphics card
process      processes that outlive the one that started them
supervise    a run's process: started, found again, ended
event_tail   what a run has told since the last look
requests     stop, save and sample on request
output       the last lines of a process's output
progress     a training's progress in words
stopping     how long a stop may take
"""
