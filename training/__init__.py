"""Training a LoRA: what both trainers share (settings, runs on disk), and the trainer inside ComfyUI's process."""
