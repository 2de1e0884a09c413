"""Reading and writing files, for the other rooms. No name here is public: a room that shows one exports it.

whole.py         files that are either whole or not there
json_files.py    JSON in such files
trees.py         names for the arrays of a tree, and the words for how two trees differ
tensors.py       trees of arrays in safetensors files
seal.py          the entry in such a file that shows whether the file was changed
first_bytes.py   the first bytes of a file, which tell its format
remote.py        published files: downloaded once into one cache, checked by a hash
images.py        the one decoder of images
errors.py        the errors that this room raises, and the one for a package that is not installed
"""
