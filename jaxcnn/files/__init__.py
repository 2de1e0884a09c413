"""Files, for the other rooms: no name of this one is public; what users meet is public in the room that shows it.

whole.py         files that are either whole or not there
json_files.py    JSON in such files
trees.py         names in trees of arrays, and what is said of two trees that differ
tensors.py       trees of arrays in safetensors files; seal.py: by which a file of ours knows that it was changed
first_bytes.py   what a file is, by how it begins
remote.py        published files: one cache, one hash
images.py        the one decoder of images
errors.py        the errors of all this, and of a package that is missing
"""
