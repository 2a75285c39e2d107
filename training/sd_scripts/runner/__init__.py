"""Runs in the trainer's interpreter, where it controls and reports on the checkout's own trainer.

    python .../training/sd_scripts/runner/__main__.py CHECKOUT JOB_FOLDER

It adds what the trainer lacks: one line of JSON per event; stop, save and sample on request; a moving average of the
weights; caption dropout with cached captions; clean and isolated references; step numbers that continue when a run is
resumed; output files that are never half-written. It extends the trainer's classes and never changes its files.

It may import torch, the packages in the trainer's environment, and those parts of the pack that work without ComfyUI.

__main__    the script to start: makes the pack importable
main        runs one job and returns an exit code
plan        job.json: what the runner does beyond the trainer's own options
options     the trainer's command line
trainer     the checkout's trainer class, extended with the parts below
training    what these parts share: the step, the average, requests from the user
encodings   cached captions and sample prompts; loads text encoders only when needed
references  panels without noise and loss
isolation   references that attend to references only, in the checkout's models
captions    caption dropout
report      loss, speed and validation as events
sampling    samples, and recovery from one that does not fit into memory
saving      checkpoints and states, also on a full disk
patches     changes to the checkout's functions
events      events.jsonl
disk        writes files completely or not at all; recognises a full disk
errors      why a job ends early
"""
