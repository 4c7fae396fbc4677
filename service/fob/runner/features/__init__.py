"""What only some functions need: each module is loaded on first use (core/feature.py).

A feature is small and uses the standard library and the core only; it imports other features where
it needs them, so that they are loaded no sooner.
"""
