"""Orders over HTTP, by FastAPI: placed at once, and watched while they are carried out."""
