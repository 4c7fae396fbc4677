"""A bare Tornado handler.

python tornado_handler.py PORT
"""

import asyncio
import sys

from hello import handler
from tornado import web


class Hello(web.RequestHandler):
    def get(self):
        self.write(handler())


async def main():
    app = web.Application([("/", Hello)], log_function=lambda _: None)
    app.listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
