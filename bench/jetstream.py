"""A publisher for NATS JetStream in its own text protocol, with up to `window` publishes waiting for their ack."""
import json
import socket
import time


class Publisher:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.reader = self.socket.makefile("rb")
        self.reader.readline()  # INFO
        self.socket.sendall(b'CONNECT {"verbose":false}\r\nSUB answers.> 1\r\n')

    def _answer(self):
        while True:
            line = self.reader.readline()
            if line.startswith(b"MSG"):
                payload = self.reader.read(int(line.split()[-1]) + 2)[:-2]
                return json.loads(payload)
            if line.startswith(b"PING"):
                self.socket.sendall(b"PONG\r\n")
            elif not line or line.startswith(b"-ERR"):
                raise SystemExit(f"bench: nats-server said {line!r}")

    def create_stream(self, name, subject):
        body = json.dumps({"name": name, "subjects": [subject], "storage": "file", "retention": "limits",
                           "discard": "old", "num_replicas": 1}).encode()
        self.socket.sendall(b"PUB $JS.API.STREAM.CREATE.%s answers.c %d\r\n%s\r\n" % (name.encode(), len(body), body))
        answer = self._answer()
        if "error" in answer:
            raise SystemExit(f"bench: nats-server: {answer['error']}")

    def publish(self, subject, payload, window, seconds):
        """Messages that the server has acknowledged."""
        message = b"PUB %s answers.p %d\r\n%s\r\n" % (subject.encode(), len(payload), payload)
        end = time.monotonic() + seconds
        sent, acked = window, 0
        self.socket.sendall(message * window)
        while acked < sent:
            answer = self._answer()
            if "error" in answer:
                raise SystemExit(f"bench: nats-server: {answer['error']}")
            acked += 1
            # Sends again in bunches of half a window, as an asynchronous client does.
            if sent - acked <= window // 2 and time.monotonic() < end:
                self.socket.sendall(message * (window - (sent - acked)))
                sent += window - (sent - acked)
        return acked
