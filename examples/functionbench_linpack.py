# /// script
# dependencies = ["numpy"]
# ///
"""In the way of FunctionBench: solve a system of linear equations with NumPy."""

from time import time

import numpy as np


def lambda_handler(event, context):
    n = event["n"]
    random = np.random.default_rng(seed=1)
    a, x = random.random((n, n)) + n * np.eye(n), random.random(n)
    start = time()
    solved = np.linalg.solve(a, a @ x)
    latency = time() - start
    operations = 2 * n**3 / 3 + 2 * n**2
    return {
        "latency": latency,
        "mflops": operations / latency / 1e6,
        "right": bool(np.allclose(solved, x)),
    }
