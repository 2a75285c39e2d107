"""Sets that were made: pictures on disk, and what the prompts inside them tell about each.

png       what a PNG's header holds: size, prompt and workflow
prompt    a prompt as a graph
recipes   links of a prompt → recipes and layouts
painting  what painted a picture: sampler, seed, model and LoRAs
texts     links of a prompt → captions
origin    where a picture came from: panels, caption, seed, LoRAs, references
gather    pictures → sets, each with its panels
index     the pictures of ComfyUI's folders, read once
crops     the pixels of a set's canvas and panels
add       a set into a folder that Build Dataset reads
"""
