# A script: each call runs it anew, and what it prints is the answer's output.
print("Hello from a script")
