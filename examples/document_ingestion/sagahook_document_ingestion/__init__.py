"""A file is uploaded, read, split and indexed; whoever sent it is told how far it is."""
