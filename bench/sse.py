"""Tokens as server-sent events: a scripted engine that writes them, and a client that counts them.

usage: sse.py --port N …      an engine that takes llama-server's command line
"""
import asyncio
import json
import random
import sys

TOKENS_PER_SECOND = 50


def chunk(text, finish=None):
    delta = {"content": text} if finish is None else {}
    return json.dumps({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "bench",
                       "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}, separators=(",", ":"))


def framed(data):
    event = f"data: {data}\n\n".encode()
    return b"%x\r\n%s\r\n" % (len(event), event)


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next((int(line.split(":")[1]) for line in head.lower().split("\r\n")
                           if line.startswith("content-length:")), 0)
            body = await reader.readexactly(length)
            if not head.startswith("POST"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                continue
            tokens = json.loads(body).get("max_tokens", 16)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            token = framed(chunk(" token"))
            loop = asyncio.get_running_loop()
            next_at = loop.time() + random.random() / TOKENS_PER_SECOND  # streams do not tick together
            for _ in range(tokens):
                next_at += 1 / TOKENS_PER_SECOND
                await asyncio.sleep(next_at - loop.time())
                writer.write(token)
            writer.write(framed(chunk("", "stop")) + framed("[DONE]") + b"0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def engine(port):
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    await server.serve_forever()


async def stream(port, request):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    seen, tail = 0, b""
    while b"[DONE]" not in tail:
        data = await reader.read(65536)
        if not data:
            raise SystemExit(f"bench: a stream ended early after {seen} tokens: {tail[-300:]!r}")
        joined = tail[-8:] + data
        seen += joined.count(b'" token"') - tail[-8:].count(b'" token"')
        tail = joined[-600:]
    writer.close()
    return seen


def read_streams(port, model, streams, tokens):
    """Tokens that arrived in so many streams at once."""
    body = json.dumps({"model": model, "stream": True, "max_tokens": tokens,
                       "messages": [{"role": "user", "content": "Say token."}]}).encode()
    request = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
               f"Content-Length: {len(body)}\r\n\r\n").encode() + body

    async def all_of_them():
        return sum(await asyncio.gather(*(stream(port, request) for _ in range(streams))))

    return asyncio.run(all_of_them())


if __name__ == "__main__":
    asyncio.run(engine(int(sys.argv[sys.argv.index("--port") + 1])))
