"""The parts of experiments/bench.py: networks, the libraries that compute them, timing, rows, targets, picture."""
