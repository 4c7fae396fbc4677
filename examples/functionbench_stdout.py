"""In the way of FunctionBench: much output while it works."""

from time import time


def lambda_handler(event, context):
    start = time()
    for line in range(event["lines"]):
        print(f"{line:06d} " + "x" * 57)
    return {"latency": time() - start, "lines": event["lines"]}
