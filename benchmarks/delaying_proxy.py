"""A TCP proxy that adds latency and leaves throughput alone: every answer comes later.

    python benchmarks/delaying_proxy.py HOST:PORT 20

Listens on a free port, prints it, and runs until it is ended. What the server sends is held back by
so many milliseconds; what the client sends passes at once. So a request takes that much longer.
"""

import argparse
import asyncio
import contextlib

CHUNK_BYTES = 1 << 18


async def serve(host: str, port: int, delay_s: float) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(host, port, limit=4 * CHUNK_BYTES)
        await asyncio.gather(pass_on(reader, to_server, 0.0), pass_on(from_server, writer, delay_s))

    server = await asyncio.start_server(handle, "127.0.0.1", 0, limit=4 * CHUNK_BYTES)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay_s: float) -> None:
    """Hand on bytes, each chunk `delay_s` after it came; the next is read meanwhile."""
    clock = asyncio.get_running_loop().time
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while True:
            due, chunk = await waiting.get()
            if due > clock():
                await asyncio.sleep(due - clock())
            if not chunk:
                return
            sink.write(chunk)
            await sink.drain()

    delivery = asyncio.create_task(deliver())
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(CHUNK_BYTES):
            waiting.put_nowait((clock() + delay_s, chunk))
    waiting.put_nowait((clock() + delay_s, b""))
    with contextlib.suppress(ConnectionError):
        await delivery
    sink.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("server", metavar="HOST:PORT")
    parser.add_argument("delay_ms", type=float)
    options = parser.parse_args()
    host, _, port = options.server.rpartition(":")
    asyncio.run(serve(host, int(port), options.delay_ms / 1000))


if __name__ == "__main__":
    main()
