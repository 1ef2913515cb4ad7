"""An expense waits for a person: approved, rejected, or given up when nobody answers."""
