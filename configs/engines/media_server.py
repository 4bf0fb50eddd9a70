#!/usr/bin/env python3
"""Serves one model for speech, sound or pictures over HTTP, on the routes of OpenAI's interface where it has them.

usage: media_server.py KIND --port PORT [--threads N] [--model PATH]

KIND is one of: faster-whisper, hibari, piper, centernet, terrain. Without --model it is the model that the installation
carries. /health answers 503 while the model is loaded and 200 from then on. With AIMA_API_KEY in the environment, every
other route wants it as a bearer token. Exit codes: 1 the model cannot be loaded, 4 the address is taken, 64 the command
line is wrong, 69 a package is missing.
"""
import argparse
import email.parser
import email.policy
import hmac
import http.server
import json
import os
import signal
import socket
import sys
import threading

import media_kinds
from media_kinds import Left, Refused

LOAD_FAILED, ADDRESS_TAKEN, USAGE, NO_PACKAGE = 1, 4, 64, 69
LARGEST_BODY = 32 << 20


def say(text):
    print(f"media_server: {text}", file=sys.stderr, flush=True)


def leave(code, text):
    """Ends at once: threads of the model may be in the middle of something and must not be waited for."""
    say(text)
    os._exit(code)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        leave(USAGE, message)


class ShowVersion(argparse.Action):
    """Also proves that the packages can be loaded."""

    def __call__(self, parser, arguments, *_):
        kind = media_kinds.KINDS[arguments.kind]
        try:
            print(f"version: {kind.version()}", flush=True)
        except ImportError as error:
            leave(NO_PACKAGE, f"a package is missing: {error}")
        os._exit(0)


class Service:
    """The model, and who may use it: one request at a time, because these models use all threads for one. A request whose
    client has left is not begun, and models look now and then whether they work for nobody."""

    def __init__(self, kind, name, key):
        self.kind, self.name, self.key = kind, name, key
        self.model = None
        self._turn = threading.Lock()

    def allows(self, header):
        return not self.key or hmac.compare_digest(header or "", f"Bearer {self.key}")

    def answer(self, fields, client):
        with self._turn:
            client.check()
            answer = self.model.answer(fields, client)
        return answer if isinstance(answer.body, (bytes, dict)) else answer._replace(body=self._in_turn(answer.body))

    def _in_turn(self, pieces):
        """A slow reader keeps nobody else waiting."""
        while True:
            with self._turn:
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece


class Client:
    """The other end of a connection, which has sent its request and waits."""

    def __init__(self, connection):
        self._connection = connection

    def check(self):
        """Raises Left if it has closed the connection."""
        try:
            ended = self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            raise Left


def parse_body(content_type, body):
    """Fields of a JSON object or of a form; a file is bytes. Any other body is the file itself."""
    if content_type.startswith("application/json"):
        fields = json.loads(body)
        if not isinstance(fields, dict):
            raise Refused("the body must be a JSON object")
        return fields
    if not content_type.startswith("multipart/form-data"):
        return {"file": body}
    head = b"content-type: " + content_type.encode() + b"\r\n\r\n"
    form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    fields = {}
    for part in form.iter_parts():
        value = part.get_payload(decode=True)
        name = part.get_param("name", header="content-disposition")
        fields[name] = value if part.get_filename() is not None else value.decode()
    return fields


def make_handler(service):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, form, *values):
            if not self.path.endswith("/health"):
                say(form % values)

        def reply(self, status, body, content_type="application/json", headers=()):
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.begin(status, content_type, [*headers, ("Content-Length", str(len(data)))])
            self.wfile.write(data)

        def reply_in_pieces(self, answer):
            """Each piece as it is made. Breaking off is the only way to say that the rest cannot be."""
            self.begin(200, answer.content_type, [*answer.headers, ("Transfer-Encoding", "chunked")])
            for piece in answer.body:
                if piece:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

        def begin(self, status, content_type, headers):
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()

        def refuse(self, status, text, code=None):
            kind = "invalid_request_error" if status < 500 else "server_error"
            self.reply(status, {"error": {"message": text, "type": kind, "code": code or status}})

        def do_GET(self):
            if self.path in ("/health", "/v1/health"):
                return self.reply(200, {"status": "ok"}) if service.model else self.refuse(503, "Loading model")
            if not service.allows(self.headers.get("Authorization")):
                return self.refuse(401, "the key is missing or wrong")
            if self.path == "/v1/models":
                return self.reply(200, {"object": "list", "data": [{"id": service.name, "object": "model"}]})
            return self.refuse(404, "not found")

        def do_POST(self):
            length = self.headers.get("Content-Length", "")
            problem = (411, "Content-Length is required") if not length.isdigit() else None
            if not problem and int(length) > LARGEST_BODY:
                problem = (413, "the body is larger than 32 MiB")
            if problem:
                self.close_connection = True
                return self.refuse(*problem)
            body = self.rfile.read(int(length))
            if not service.allows(self.headers.get("Authorization")):
                return self.refuse(401, "the key is missing or wrong")
            if not service.model:
                return self.refuse(503, "Loading model")
            if self.path.split("?")[0] != service.kind.route:
                return self.refuse(404, f"not found; this engine answers {service.kind.route}")
            try:
                answer = service.answer(parse_body(self.headers.get("Content-Type", ""), body), Client(self.connection))
            except Left:
                self.close_connection = True
                return say("the client has left")
            except Refused as refused:
                return self.refuse(refused.status, str(refused), refused.code)
            except (ValueError, UnicodeDecodeError) as error:
                return self.refuse(400, f"bad request: {error}")
            except Exception as error:  # whatever the model throws, the server goes on
                say(f"failed: {error!r}")
                return self.refuse(500, type(error).__name__)
            if isinstance(answer.body, (bytes, dict)):
                return self.reply(200, answer.body, answer.content_type, answer.headers)
            try:
                return self.reply_in_pieces(answer)
            except Left:
                say("the client has left")
            except ConnectionError:
                raise
            except Exception as error:
                say(f"failed in the middle: {error!r}")
            self.close_connection = True

        def handle(self):
            try:
                super().handle()
            except ConnectionError:
                pass  # the client has left

    return Handler


def main():
    parser = Parser(description="Serves one model for speech, sound or pictures over HTTP.")
    parser.add_argument("kind", choices=sorted(media_kinds.KINDS))
    parser.add_argument("--version", action=ShowVersion, nargs=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="", help="file or folder; without it, what the installation carries")
    parser.add_argument("--name", help="of the model in /v1/models")
    arguments = parser.parse_args()
    # Threads that spin while they wait slow down everything else on the machine.
    os.environ.update(OMP_NUM_THREADS=str(arguments.threads), OMP_WAIT_POLICY="PASSIVE", HF_HUB_OFFLINE="1")
    kind = media_kinds.KINDS[arguments.kind]
    service = Service(kind, arguments.name or arguments.kind, os.environ.get("AIMA_API_KEY", ""))
    http.server.ThreadingHTTPServer.daemon_threads = True
    try:
        server = http.server.ThreadingHTTPServer((arguments.host, arguments.port), make_handler(service))
    except OSError as error:
        leave(ADDRESS_TAKEN, f"cannot listen on {arguments.host}:{arguments.port}: {error.strerror}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        service.model = kind(arguments.model, arguments.threads)
    except ImportError as error:
        leave(NO_PACKAGE, f"a package is missing: {error}")
    except Exception as error:  # whatever a library throws, the reason belongs in the log
        leave(LOAD_FAILED, f"the model cannot be loaded: {type(error).__name__}: {error}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: leave(0, f"stopped by {signal.Signals(received).name}"))
    say(f"{arguments.kind} answers on {arguments.host}:{arguments.port}")
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
