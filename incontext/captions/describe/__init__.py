"""Describe the panels of a set with a vision-language model, and turn its answer into a joint caption.

options      the user's choices
instruction  the question for a recipe
answer       the model's answer → the parts of a joint caption
pictures     panels → the pictures that are sent
servers      which servers may be asked, and with which key
client       one request over the OpenAI-compatible API: time limit, retries, cancelling
joint        one set: ask, read, and ask again if the answer cannot be used
folder       all sets of a folder: write the missing caption files
"""
