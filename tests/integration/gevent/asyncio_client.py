#!/usr/bin/python3
"""An asyncio client of a server whose certificate is odd but verified. No gevent, no other connection: asyncio does it to itself.

usage: asyncio_client.py FOLDER

asyncio calls getpeercert() after each handshake (see getpeercert.py) and then reads.
"""

import asyncio
import sys

import healthy


async def talk(folder: str, port: int, report: healthy.Report) -> None:
    reader, writer = await asyncio.open_connection('127.0.0.1', port, ssl=healthy.client_context(folder),
                                                   server_hostname='localhost')
    try:
        writer.write(healthy.QUESTION)
        await reader.readexactly(len(healthy.QUESTION))
        report.add('answered')
    except OSError as error:
        report.add_failure(f'{type(error).__name__}: {error}')
    finally:
        writer.close()


async def main(folder: str) -> None:
    report = healthy.Report()
    with healthy.Server(folder, 'aia') as server:
        for _ in range(healthy.CONNECTIONS):
            await talk(folder, server.port, report)
    report.end()


if __name__ == '__main__':
    asyncio.run(main(sys.argv[1]))
