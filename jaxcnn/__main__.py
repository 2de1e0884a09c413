"""`python -m jaxcnn`: the command `jaxcnn`."""

from jaxcnn.cli import run

if __name__ == "__main__":
    run()
