"""What a function is, and its verbs: register, find, list, describe, change, remove. No HTTP."""
