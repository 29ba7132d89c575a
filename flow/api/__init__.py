"""The same figures for programs: tokens, JSON, OpenAPI."""
