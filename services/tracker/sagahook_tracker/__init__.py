"""tracker: answers "what became of my webhook?" from views of the log that can be thrown away and rebuilt."""
