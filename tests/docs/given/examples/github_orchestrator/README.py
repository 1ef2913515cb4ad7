"""Secrets of an App."""

SHOWN = {"=…": "=of-the-tests"}
