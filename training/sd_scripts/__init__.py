"""Training with kohya-ss/sd-scripts: a process of its own, in an environment of its own, never in ComfyUI's.

environment    where the trainer is installed; standard library only
fit            what of the trainer fits this machine
install_steps  the steps that install it
probe          run by the trainer's interpreter: versions, options of the real parser, buckets
architectures  what each model family needs, as a table
presets        settings by memory of the graphics card
settings       what determines a training, checked when made
preflight      which model file is which, by its header only
data           the dataset as the trainer reads it, named by its content
job            settings → job.toml, dataset.toml, prompts.json: pure values
runner/        run by the trainer's interpreter: watches and steers the checkout's trainer
archive        the trainer's files, where there is no git
processes      how many train together
launch         the command that starts the trainer, and its environment
outcome        what became of a run, in words
order          what is to be trained, as a value
machine        where things are on this machine
torch_device   what the trainer's own torch computes on
begin          start a run, resume it, help with it from another machine
notes          what the user should know before a run begins
follow         watch a run, stop it
settle         what became of a run; its LoRA is published
states         saved states, from which a run can be resumed
"""
