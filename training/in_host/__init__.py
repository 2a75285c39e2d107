"""The trainer inside ComfyUI's process."""
