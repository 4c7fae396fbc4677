# /// script
# dependencies = ["pyaes"]
# ///
"""In the way of FunctionBench: encrypt and decrypt in pure Python."""

from time import time

import pyaes

KEY = b"\xa1\xf6%\x8c\x87}_\xcd\x89dHE8\xbf\xc9,"


def lambda_handler(event, context):
    message = "x" * event["length"]
    start = time()
    for _ in range(event["iterations"]):
        encrypted = pyaes.AESModeOfOperationCTR(KEY).encrypt(message)
        decrypted = pyaes.AESModeOfOperationCTR(KEY).decrypt(encrypted).decode()
    return {"latency": time() - start, "same": decrypted == message}
