"""Checks of the Kubernetes manifests (deploy/k8s) that need no cluster: docs/operating/kubernetes.md.

They compare what is rendered with what it is about: the services' settings, routes and stops, the registry of topics,
the images, and with itself. `python -m deploy.checks` runs them.
"""
