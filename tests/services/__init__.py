"""Real services for the tests: each found or started by a ladder of ways, or unavailable with a reason."""
