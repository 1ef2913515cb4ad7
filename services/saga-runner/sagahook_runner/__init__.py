"""saga-runner: starts the sagas that webhooks trigger, runs their steps and compensations, writes the saga log."""
