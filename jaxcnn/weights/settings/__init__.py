"""What a network computes besides its arrays: the settings of its layers, written into files and compared with them."""
