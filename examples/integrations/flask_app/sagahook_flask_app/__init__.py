"""Orders over HTTP, by Flask: whoever places one is answered when it is shipped, or undone."""
