"""What `sagahook topics repartition` does: another generation of topics, filled from the one that is there."""
