from sagahook.embedded.api import main

__all__ = ["main"]
