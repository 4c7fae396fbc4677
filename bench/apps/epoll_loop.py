"""The floor: one epoll loop that finds the end of a request and sends a constant.

    python epoll_loop.py PORT

Nothing is parsed, called or encoded. No Python server answers with less.
"""

import select
import socket
import sys

BODY = b'{"message": "Hello serverless world!"}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
ANSWER = HEAD % len(BODY) + BODY


def serve(listener: socket.socket) -> None:
    connections: dict[int, socket.socket] = {}
    events = select.epoll()
    events.register(listener, select.EPOLLIN)
    while True:
        for number, _ in events.poll():
            if number == listener.fileno():
                connection, _ = listener.accept()
                connections[connection.fileno()] = connection
                events.register(connection, select.EPOLLIN)
            elif not answered(connections[number]):
                connections.pop(number).close()


def answered(connection: socket.socket) -> bool:
    """Answer a request; False when there is none, for the client has gone."""
    try:
        request = connection.recv(65536)
        if request.endswith(b"\r\n\r\n"):
            connection.send(ANSWER)
    except ConnectionResetError:
        return False
    return bool(request)


if __name__ == "__main__":
    serve(socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024))
