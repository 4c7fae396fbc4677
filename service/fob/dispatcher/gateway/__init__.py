"""The path of a call: from the client to an instance of the function, and back."""
