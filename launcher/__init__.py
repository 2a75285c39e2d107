"""The code of `run.py`: set-up, demo, tests, benchmarks, ComfyUI, and the trainer. Standard library only.

versions       which Python versions are supported; readable by older ones
pack           the checkout as a package, for this process or in another interpreter
arguments      the command line
main           runs a command; turns errors and signals into one sentence and an exit code
commands       demo, bench, compare, sweep, serve
checks         test: linters, pytest, node
tools          the Node and Chromium that the tests use
trainer        train, trainer: install, check and remove the sd-scripts trainer, and train with it
work           the ComfyUI, work folder and demo models that a command needs
comfyui        finds the user's own ComfyUI or makes one in the cache
interpreters   other Python interpreters: their modules, and how to run one
packages       runs pip and explains its failures
failures       why a tool failed: the network, a full disk, or something else
cache          folders that are built once and shared by checkouts
processes      runs and ends child processes
progress       the progress line
errors         exceptions that end a command
"""
