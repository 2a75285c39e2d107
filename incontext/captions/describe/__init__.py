"""Describing: the panels of a set in, its joint caption out, by a vision-language model.

options      what a user chooses
instruction  what the model is asked to write for a recipe
answer       what it wrote → the parts of a joint caption
pictures     panels → what is sent of them
servers      which servers may be asked, and with which key
client       one question over the OpenAI-compatible API: time limit, retries, cancel
joint        one set: ask, read, and ask once more where the answer cannot be used
folder       all sets of a folder: caption files where there are none
"""
