"""The log: one line per event on standard error, in the format of the published README."""

import logging
import time

FORMAT = "%(asctime)s %(levelname)s %(message)s [at line %(lineno)d]"
TIME = "%Y-%m-%dT%H:%M:%S"


def start(level: str) -> None:
    """Log to standard error as `2016-04-02T02:41:44 INFO message [at line 82]`, in UTC."""
    formatter = logging.Formatter(FORMAT, datefmt=TIME)
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # fob logs one line per request itself; urllib3 would add one per retry and connection
    logging.getLogger("tornado.access").setLevel(logging.ERROR)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
