"""A wiki is generated file by file, and kept by a snapshot: all of it, or nothing."""
