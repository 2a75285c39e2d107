"""The library of the pack: pure values and functions. It knows nothing of ComfyUI."""
