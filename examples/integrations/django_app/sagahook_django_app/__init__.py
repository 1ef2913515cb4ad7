"""Orders over HTTP, by Django, which hands webhooks on to an ingest that runs elsewhere."""
