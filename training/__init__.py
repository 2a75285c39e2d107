"""Training a LoRA.

runs/         runs on disk, their processes, and the graphics cards they take; for both trainers
in_host/      the trainer inside ComfyUI's process
sd_scripts/   kohya-ss/sd-scripts in a process of its own
references    panels that enter a training without noise, and where they lie
average       the moving average of the weights
peak_memory   the most memory used so far
subset        leaving sets out of a training
sweep/        trainings compared, hopeless ones given up
give_way      long work in a thread beside ComfyUI's event loop
"""
