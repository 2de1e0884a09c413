"""Weights of other libraries: they are read from files and models, and written for PyTorch.

pytorch.py, keras/, npz.py    the sources: PyTorch, Keras, plain arrays
state_dicts.py, pickles.py    what PyTorch's files hold; limits.py: how much a file may unpack to
names/                        what other libraries call our layers: a table per library
dialects.py, transforms.py    what another library calls a layer's arrays, and how it lays them out
matching.py                   which of the other library's layers corresponds to which of ours
correspondence.py             which of the other library's arrays becomes which of ours, and by which transforms
steps.py, comparison.py       what two networks compute, step by step, and where they differ
"""
