"""The shell that the services share: settings, the consumers, the transactional writer, health."""
