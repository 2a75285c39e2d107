"""The pack's claims measured on a graphics card, at full size and with random weights: `python run.py bench gpu`.

Each part is a process of its own with a time limit of its own, so that one that fails does not stop the others. Nothing is
downloaded: the model files are written by the first part.
"""
