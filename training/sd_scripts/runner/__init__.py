"""Run by the trainer's interpreter: watches and controls the checkout's own trainer.

    python .../training/sd_scripts/runner/__main__.py CHECKOUT JOB_FOLDER

It adds what the trainer lacks: one line of JSON per event; stop, save and sample on request; a moving average of the
weights; caption dropout with cached captions; clean and isolated references; step numbers that stay true when a run is
resumed; files that are complete or absent. It extends the trainer's classes and never changes its files.

It imports torch and what the trainer's environment holds, and from the pack only what needs no ComfyUI.

__main__    the script that is started: makes the pack importable
main        runs one job, from its files to an exit code
plan        job.json: what the runner does beyond the trainer's own options
options     the trainer's command line
trainer     the checkout's trainer class, extended by the parts below
training    what these parts share: the step, the average, requests from the user
encodings   cached captions and sample prompts, and loading text encoders only where needed
references  references: panels without noise and loss
isolation   references that attend to references only, in the checkout's models
captions    caption dropout
report      loss, speed and validation as events
sampling    samples, and recovery after one that does not fit into memory
saving      checkpoints and states, also on a full disk
patches     changes to functions of the checkout
events      events.jsonl
disk        files that are complete or absent, and recognising a full disk
errors      why a job ends early
"""
