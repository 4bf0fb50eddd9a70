"""A client of streamed chats, which counts tokens and tells when the first one came."""
import asyncio
import json
import time

TOKENS_PER_SECOND = 50


def post(port, body, headers=None, path="/v1/chat/completions"):
    """The bytes of a request."""
    body = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Type: application/json",
             f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chat(model, tokens, per_second=TOKENS_PER_SECOND, **more):
    return {"model": model, "stream": True, "max_tokens": tokens, "tokens_per_second": per_second,
            "messages": [{"role": "user", "content": "Say token."}], **more}


async def open_stream(port, request):
    """Sends a request; the connection's ends, what came until the first token, and the seconds until then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    start = time.perf_counter()
    writer.write(request)
    seen = b""
    while b'"content":"' not in seen.replace(b'": "', b'":"').replace(b'"content":""', b""):
        data = await reader.read(65536)
        if not data:
            raise SystemExit(f"bench: a stream ended early: {seen[-500:]!r}")
        seen += data
    return reader, writer, seen, time.perf_counter() - start


async def stream(port, request):
    """Tokens of one stream, and the seconds until the first."""
    reader, writer, tail, first = await open_stream(port, request)
    seen = tail.count(b'" token"')
    while b"[DONE]" not in tail:
        data = await reader.read(65536)
        if not data:
            raise SystemExit(f"bench: a stream ended early after {seen} tokens: {tail[-300:]!r}")
        joined = tail[-8:] + data
        seen += joined.count(b'" token"') - tail[-8:].count(b'" token"')
        tail = joined[-600:]
    writer.close()
    return seen, first


def read_streams(port, body, streams, headers=None):
    """(tokens, seconds until the first token) of each of so many streams at once."""
    request = post(port, body, headers)

    async def all_of_them():
        return await asyncio.gather(*(stream(port, request) for _ in range(streams)))

    return asyncio.run(all_of_them())


class IdleStreams:
    """Streams that have said one token and then nothing, held open while the `with` block runs."""

    def __init__(self, port, body, count):
        self.port, self.request, self.count = port, post(port, body), count
        self.loop = asyncio.new_event_loop()

    def __enter__(self):
        async def open_all():
            ends = []
            for start in range(0, self.count, 32):  # no more than the listener's queue takes at once
                ends += await asyncio.gather(*(open_stream(self.port, self.request)
                                               for _ in range(min(32, self.count - start))))
            return ends
        self.ends = self.loop.run_until_complete(open_all())
        return self

    def __exit__(self, *_):
        for _, writer, _, _ in self.ends:
            writer.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()


def open_loop(port, request, per_second, seconds):
    """Seconds from when each of per_second * seconds requests was due until it was answered, sorted; they are due at even
    distances whatever the answers do."""
    async def ask(idle, due):
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"bench: {head[:300]!r}")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        if b"content-length" in fields:
            await reader.readexactly(int(fields[b"content-length"]))
        else:
            await reader.readuntil(b"0\r\n\r\n")
        took = time.perf_counter() - due
        idle.append((reader, writer))
        return took

    async def all_of_them():
        idle, asked, begin = [], [], time.perf_counter()
        for number in range(round(per_second * seconds)):
            due = begin + number / per_second
            await asyncio.sleep(due - time.perf_counter())
            asked.append(asyncio.ensure_future(ask(idle, due)))
        took = await asyncio.gather(*asked)
        for _, writer in idle:
            writer.close()
        return sorted(took)

    return asyncio.run(all_of_them())
