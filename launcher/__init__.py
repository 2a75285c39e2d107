"""What `run.py` does: set-up, demo, tests, benchmarks, ComfyUI, and the trainer. Standard library only.

versions       which Python versions are supported; readable by older ones
pack           the checkout as a package, for this process or in another interpreter
arguments      the command line
main           errors and signals become one sentence and an exit code
commands       demo, bench, compare, sweep, serve
checks         test: linters, pytest, node; tools: where Node and Chromium come from
trainer        install, check and remove the sd-scripts trainer; train with it
work           what a command runs with: a ComfyUI, a work folder, the demo models
comfyui        the ComfyUI that is used: the user's own, or one made in the cache
interpreters   other Python interpreters: which modules they have, how a module runs in them
packages       pip, and its failures as sentences
cache          folders that are built once and shared by checkouts
processes      child processes and their environment
progress       the progress line
errors         exceptions that end a command
"""
