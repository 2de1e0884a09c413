"""The settings of a network's layers, which files hold beside the arrays and which are compared on loading."""
