"""Train a LoRA.

runs/         for both trainers: runs on disk, their processes, and the graphics cards they use
in_host/      the trainer inside ComfyUI's process
sd_scripts/   kohya-ss/sd-scripts in a process of its own
references    references in training: which panels, and where they are in a latent
average       moving average of the weights
peak_memory   the most memory used so far
subset        leave sets out of a training
sweep/        compare trainings, and stop hopeless ones early
give_way      let ComfyUI's event loop run during long work in a thread
"""
