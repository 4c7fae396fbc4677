# /// script
# dependencies = ["numpy"]
# ///
"""In the way of FunctionBench: multiply matrices with NumPy."""

from time import time

import numpy as np


def lambda_handler(event, context):
    n = event["n"]
    a = np.arange(n * n, dtype=float).reshape(n, n)
    start = time()
    product = a @ np.eye(n)
    return {"latency": time() - start, "trace": float(np.trace(product))}
