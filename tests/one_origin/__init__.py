"""ingest, the status API and notifier's API on one origin, as a service that `preforked` starts."""
