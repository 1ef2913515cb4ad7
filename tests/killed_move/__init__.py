"""A move to other topics that is killed in its middle, for tests/preforked.py."""
