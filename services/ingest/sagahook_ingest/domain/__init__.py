"""What a webhook must be to be accepted: pure."""
