"""Builds the images where there is no Docker, and starts every service from what was built, as a container would."""
