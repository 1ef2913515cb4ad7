"""What the runner does with what it reads: routing webhooks, owning sagas."""
