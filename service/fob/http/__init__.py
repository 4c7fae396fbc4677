"""HTTP/1.1 on sockets: messages, servers and clients; knows nothing of fob but its errors."""
