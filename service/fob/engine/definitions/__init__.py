"""App and group definitions: defaults, validation and merging, as functions of the JSON alone."""
