"""What a GitHub App does about pull requests, pushes and failed checks, as sagas."""
