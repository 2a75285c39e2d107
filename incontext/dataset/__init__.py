"""Datasets: a folder of image sets in, composites with one-line captions out.

scan      which sets a folder holds, in which of three shapes
listing   the images and captions in one folder
texts     caption files of any encoding → text
captions  the caption files of a set → its joint caption
images    image files of any kind → RGB pixels
build     all of it, one set at a time, into a content-addressed folder
manifest  the dataset as a value, and its file
sheet     the contact sheet
report    what went well and what did not
files     atomic writes and the lock of a folder
"""
