"""Complete configurations, each told in full: published, for the embedded sample, for tests."""
