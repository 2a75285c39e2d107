"""Train with kohya-ss/sd-scripts, in a process and an environment of its own, never in ComfyUI's.

environment    where the trainer is installed; standard library only
fit            the interpreter, torch and requirements that suit this machine
install_steps  the steps that install the trainer
installing     install it from the interface
archive        fetch and unpack the trainer's files without git
probe          run by the trainer's interpreter: versions, options of the real parser, buckets
contract       check that the installed trainer accepts the pack's jobs
architectures  a table of what each model family needs
presets        settings by memory of the graphics card
settings       what determines a training, checked on creation
preflight      identify model files by their headers
data           the dataset in the trainer's form, in folders named by their content
space          disk space that a training needs
job            settings → job.toml, dataset.toml, prompts.json: pure values
runner/        run by the trainer's interpreter: watches and controls the checkout's trainer
processes      how many processes train together
launch         the command that starts the trainer, and its environment
order          what to train, as a value
machine        paths and devices of this machine
torch_device   the device that the trainer's own torch uses
begin          start a run, resume it, help with it from another machine
notes          what the user should know before a run begins
follow         watch a run, stop it
settle         record the outcome of a run, and publish its LoRA
outcome        the outcome of a run in words
states         saved states, from which a run can be resumed
arguments      options of the command line; standard library only
cli            the command line
"""
