"""What apps and groups may say: defaults, refusals and merges, as functions of the JSON alone."""
