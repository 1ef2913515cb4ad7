"""What the views say, folded from the log: pure."""
