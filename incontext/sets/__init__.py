"""Generated sets: pictures on disk, and the information in the prompts inside them.

png       read a PNG's header: size, prompt and workflow
prompt    a prompt as a graph
recipes   links of a prompt → recipes and layouts
painting  what painted a picture: sampler, seed, model and LoRAs
texts     links of a prompt → captions
origin    where a picture came from: panels, caption, seed, LoRAs, references
gather    pictures → sets, each with its panels
index     the pictures in ComfyUI's folders, each read once
crops     the pixels of a set's canvas and panels
add       add a set to a folder that Build Dataset reads
"""
