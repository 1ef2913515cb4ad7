"""Four ways to read the saga log: each a program of its own, none of which imports sagahook."""
