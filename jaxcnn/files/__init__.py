"""Files on disk and published files, for the other rooms. Users find the public names in `data` and `weights`.

whole.py         writes files that are either whole or not there
json_files.py    JSON in such files
trees.py         names of the leaves of a tree of arrays, and how two trees differ
tensors.py       trees of arrays in safetensors files; seal.py: the hashes that show whether such a file was changed
first_bytes.py   the first bytes of a file, which tell what it is
remote.py        published files, fetched into one cache and compared with their hashes
images.py        the only decoder of images
errors.py        the errors about all these files, and the one about a package that is not installed
"""
