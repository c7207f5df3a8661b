"""A Python program for guard_python_test.py: TLS in memory, an entry that a careless line leaves, and a read that meets it.
Prints what the reader is told. With "greenlet" each runs in a greenlet of its own, with "thread" in a thread that has ended
its own Python before."""

import ssl
import sys
import threading

CERTIFICATE, KEY, HOW = sys.argv[1], sys.argv[2], sys.argv[3]


class Pair:
    def __init__(self):
        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_context.load_cert_chain(CERTIFICATE, KEY)
        client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client_context.load_verify_locations(CERTIFICATE)
        left, right = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client_context.wrap_bio(left, right, server_hostname='localhost')
        self.server = server_context.wrap_bio(right, left, server_side=True)
        for _ in range(3):
            for end in (self.client, self.server):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    pass
        try:
            self.client.read(1)  # The tickets.
        except ssl.SSLWantReadError:
            pass


def careless():
    # CPython calls OpenSSL without the interpreter's lock here ...
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # LEAK


def careless_greenlet():
    def careless():
        try:
            ssl._ssl.txt2obj('nonsense', name=True)  # LEAK WITH LOCK
        except ValueError:
            pass  # ... and with it here.
    careless()


def read(pair):
    try:
        pair.client.read(1)  # VICTIM
    except ssl.SSLWantReadError:
        return 'the truth'
    except ssl.SSLError:
        return 'called dead'


def nested(depth, function, *arguments):
    return nested(depth - 1, function, *arguments) if depth else function(*arguments)


def main():
    pair = Pair()
    if HOW == 'greenlet':
        import greenlet
        greenlet.greenlet(careless_greenlet).switch()
        print(greenlet.greenlet(read).switch(pair))
    elif HOW == 'thread':
        thread = threading.Thread(target=lambda: (careless(), print(read(pair))))
        thread.start()
        thread.join()
    elif HOW == 'deep':
        nested(60, careless)
        print(nested(60, read, pair))
    else:
        for _ in range(3):
            careless()
            answer = read(pair)
        print(answer)


main()
