"""A file that is read without being run: its entry point, its convention, its dependencies."""
