"""What tests of the command share."""

QUICK = ["--epochs", "2", "--batch-size", "128"]
