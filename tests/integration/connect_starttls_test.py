#!/usr/bin/python3
"""heddle connect --starttls against servers that follow a script.

usage: connect_starttls_test.py [HEDDLE] [unittest arguments]; without HEDDLE, $HEDDLE_PROGRAM is run.
"""

import struct
import subprocess

import connect_support
from connect_support import TIMEOUT, ConnectTestCase, Server, tcp_listener

LDAP_REQUEST = bytes.fromhex('301d02010177188016') + b'1.3.6.1.4.1.1466.20037'
POSTGRES_REQUEST = bytes.fromhex('0000000804d2162f')
XMPP_HEADER = (b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
               b"xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>")
XMPP_REQUEST = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
XMPP_STREAM = (b"<?xml version='1.0'?>\n<stream:stream xmlns='jabber:client' from='localhost' id='a>b' "
               b"xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>")
XMPP_OFFER = (XMPP_STREAM + b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/>"
              b"</starttls></stream:features>")


def ldap_response(code: int, text: bytes, number: int = 1) -> bytes:
    result = bytes([10, 1, code, 4, 0, 4, len(text)]) + text
    message = bytes([2, 1, number, 0x78, len(result)]) + result
    return bytes([0x30, 0x81, len(message)]) + message


def mysql_packet(payload: bytes, number: int = 0) -> bytes:
    return struct.pack('<I', len(payload))[:3] + bytes([number]) + payload


def mysql_greeting(capabilities: int = 0xffff) -> bytes:
    return mysql_packet(b'\x0a8.0.36\0' + struct.pack('<I', 7) + b'saltsalt\0' + struct.pack('<H', capabilities) +
                        b'\x2d' + bytes(27) + b'mysql_native_password\0')


MYSQL_REQUEST = mysql_packet(struct.pack('<IIB', 0x88a00, 1 << 24, 0x2d) + bytes(23), 1)

# What the server says, and what it must hear before it goes on: in turns, the server's words first.
DIALOGUES = {
    'smtp': [b'220-mail.example\r\n220 ready\r\n', b'EHLO localhost\r\n',
             b'250-mail.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n', b'STARTTLS\r\n', b'220 go ahead\r\n'],
    'imap': [b'* OK [CAPABILITY IMAP4rev2 STARTTLS] ready\r\n', b'a STARTTLS\r\n',
             b'* 5 EXISTS\r\na OK begin\r\n'],
    'pop3': [b'+OK ready\r\n', b'STLS\r\n', b'+OK begin\r\n'],
    'ftp': [b'220-Welcome\r\n  to 220 files\r\n230 of them\r\n220 ready\r\n', b'AUTH TLS\r\n', b'234 begin\r\n'],
    'xmpp': [b'', XMPP_HEADER, XMPP_OFFER, XMPP_REQUEST, b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"],
    'ldap': [b'', LDAP_REQUEST, ldap_response(0, b'')],
    'postgres': [b'', POSTGRES_REQUEST, b'S'],
    'mysql': [mysql_greeting(), MYSQL_REQUEST, b''],
}

# What it says instead of its last word (MySQL: of its first), and what the user reads of it.
REFUSALS = {
    'smtp': (b'454 TLS \x1b[2Jnot available\r\n', r'refuses to begin TLS: 454 TLS \1B[2Jnot available'),
    'imap': (b'a NO not today\r\n', 'refuses to begin TLS: a NO not today'),
    'pop3': (b'-ERR not today\r\n', 'refuses to begin TLS: -ERR not today'),
    'ftp': (b'502-not today\r\n502 nor tomorrow\r\n', 'refuses to begin TLS: 502-not today'),
    'xmpp': (b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>", 'refuses to begin TLS: failure'),
    'ldap': (ldap_response(52, b'TLS not configured'), 'refuses to begin TLS: result 52, TLS not configured'),
    'postgres': (b'N', 'refuses to begin TLS: N'),
    'mysql': (mysql_packet(b'\xff\x69\x04Host is not allowed'), 'refuses to begin TLS: error 1129, Host is not allowed'),
}

JUNK = b'\x15\x03\x01\x00\x02\x02\x46\r\n>HTTP/1.1 400 Bad Request\r\n\r\n'


class StartTlsTest(ConnectTestCase):

    def follow(self, connection, dialogue) -> None:
        for i, text in enumerate(dialogue):
            if i % 2 == 0:
                connection.sendall(text)
                continue
            heard = b''
            while len(heard) < len(text) and (piece := connection.recv(len(text) - len(heard))):
                heard += piece
            if heard != text:
                raise AssertionError(f'heard {heard!r} for {text!r}')

    def talk_after(self, dialogue):
        def handle(connection) -> None:
            self.follow(connection, dialogue)
            with self.context().wrap_socket(connection, server_side=True) as tls:
                tls.sendall(b'secret')
                tls.unwrap()
        return handle

    def stop_after(self, dialogue):
        def handle(connection) -> None:
            self.follow(connection, dialogue)
            connection.settimeout(TIMEOUT)
            try:
                while connection.recv(4096):
                    pass
            except ConnectionError:
                pass
        return handle

    def start(self, protocol: str, handle, *options: str):
        with Server(tcp_listener(), handle) as server:
            done = self.run_connect(server.target, *self.trust(), '--servername', 'localhost', '--starttls', protocol,
                                    *options)
        self.assertIsNone(server.error)
        return done

    def assert_told(self, protocol: str, dialogue, *words: str, options=()) -> None:
        with self.subTest(protocol=protocol, dialogue=dialogue):
            done = self.start(protocol, self.stop_after(dialogue), *options)
            self.assert_fails(done, 1, *words)
            self.assertEqual(b'', done.stdout)
            self.assertEqual(1, done.stderr.count(b'\n'))

    def test_each_protocol_leads_to_tls(self) -> None:
        for protocol, dialogue in DIALOGUES.items():
            with self.subTest(protocol=protocol):
                done = self.start(protocol, self.talk_after(dialogue))
                self.assertEqual((0, b'secret'), (done.returncode, done.stdout), done.stderr)
                self.assertIn('TLSv1.3', done.stderr.decode())

    def test_answers_may_come_byte_by_byte(self) -> None:
        def drip(connection) -> None:
            for i, text in enumerate(DIALOGUES['smtp']):
                for j in range(len(text)):
                    self.follow(connection, [text[j:j + 1]] if i % 2 == 0 else [b'', text[j:j + 1]])
            self.talk_after([])(connection)

        done = self.start('smtp', drip)
        self.assertEqual((0, b'secret'), (done.returncode, done.stdout), done.stderr)

    def test_a_refusal_is_told_in_the_server_s_own_words(self) -> None:
        for protocol, (answer, told) in REFUSALS.items():
            before = [] if protocol == 'mysql' else DIALOGUES[protocol][:-1]
            self.assert_told(protocol, [*before, answer], told)

    def test_other_ways_to_refuse(self) -> None:
        self.assert_told('smtp', [b'554 go away\r\n'], 'refuses', '554 go away')
        self.assert_told('smtp', [b'220 hello\r\n', b'EHLO localhost\r\n', b'502 what\r\n'], 'refuses', '502 what')
        self.assert_told('imap', [b'* PREAUTH you are in\r\n'], 'refuses', 'PREAUTH')
        self.assert_told('imap', [*DIALOGUES['imap'][:-1], b'* BYE tired\r\n'], 'refuses', '* BYE tired')
        self.assert_told('ftp', [b'421 full\r\n'], 'refuses', '421 full')
        self.assert_told('ftp', [*DIALOGUES['ftp'][:-1], b'334 later\r\n'], 'refuses', '334 later')
        self.assert_told('xmpp', [b'', XMPP_HEADER, XMPP_STREAM + b'<stream:error><host-unknown/><text>no such host'
                                  b'</text></stream:error></stream:stream>'], 'refuses', 'host-unknown', 'no such host')
        for features in (b'<stream:features/>', b'<stream:features><bind/></stream:features>'):
            self.assert_told('xmpp', [b'', XMPP_HEADER, XMPP_STREAM + features], 'does not offer TLS')
        self.assert_told('ldap', [b'', LDAP_REQUEST, ldap_response(52, b'shutting down', 0)], 'shutting down')
        error = b'SFATAL\0C0A000\0Munsupported frontend protocol\0\0'
        self.assert_told('postgres', [b'', POSTGRES_REQUEST, b'E' + struct.pack('>I', len(error) + 4) + error],
                         'refuses', ': unsupported frontend protocol')
        self.assert_told('mysql', [mysql_greeting(0xf7ff)], 'does not offer TLS')

    def test_another_protocol_is_told(self) -> None:
        names = {'smtp': 'SMTP', 'imap': 'IMAP', 'pop3': 'POP3', 'ftp': 'FTP', 'xmpp': 'XMPP', 'ldap': 'LDAP',
                 'postgres': 'PostgreSQL', 'mysql': 'MySQL'}
        for protocol, name in names.items():
            junk = b'<html>' if protocol == 'xmpp' else JUNK
            self.assert_told(protocol, [junk], f'does not speak {name}')
        self.assert_told('smtp', [b'\r\n'], 'an empty line')
        self.assert_told('ldap', [b'', LDAP_REQUEST, ldap_response(0, b'', 2)], 'does not speak LDAP')
        for cut in (b'\x30\x05\x02\x01\x01\x78\x00', b'\x30\x06\x02\x01\x01\x78\x7f\x0a', b'\x30\x80', b'\x30\x00',
                    b'\x30\x05\x02\x84\xff\xff\xff'):
            self.assert_told('ldap', [b'', LDAP_REQUEST, cut], 'does not speak LDAP')
        for greeting in (b'', b'\x0a', b'\x0a8.0\0', b'\x0a' + b'8' * 100, b'\xff', b'\x09' + bytes(40)):
            self.assert_told('mysql', [mysql_packet(greeting)], 'does not speak MySQL')
        self.assert_told('postgres', [b'', POSTGRES_REQUEST, b'E\0\0\0\3'], 'does not speak PostgreSQL')
        self.assert_told('xmpp', [*DIALOGUES['xmpp'][:-1], b'<proceed>x</proceed>'], 'does not speak XMPP')

    def test_what_comes_behind_the_last_answer_is_an_error(self) -> None:
        for protocol, dialogue in DIALOGUES.items():
            # For MySQL the greeting is the last answer.
            injected = [dialogue[0] + b'x'] if protocol == 'mysql' else [*dialogue[:-1], dialogue[-1] + b'250 x\r\n']
            self.assert_told(protocol, injected, 'injected')

    def test_answers_to_what_was_not_asked_are_an_error(self) -> None:
        everything = b''.join(DIALOGUES['smtp'][::2])
        self.assert_told('smtp', [everything], 'injected')
        self.assert_told('pop3', [b'+OK ready\r\n+OK begin\r\n'], 'injected')

    def test_answers_without_end_have_one(self) -> None:
        endless = {
            'smtp': b'220-more\r\n', 'imap': b'* OK more\r\n', 'pop3': b'+OK', 'ftp': b'220-more\r\nmore\r\n',
            'xmpp': XMPP_STREAM + b'<more/>', 'ldap': b'\x30\x84\x00\x10\x00\x00', 'postgres': b'E\x00\x10\x00\x00',
            'mysql': b'\xff\xff\xff\x00',
        }

        def babble(text: bytes):
            def handle(connection) -> None:
                try:
                    connection.sendall(text)
                    for _ in range(100_000):
                        connection.sendall(text[-9:])
                except ConnectionError:
                    return
                raise AssertionError('all was read')
            return handle

        for protocol, text in endless.items():
            with self.subTest(protocol=protocol):
                done = self.start(protocol, babble(text))
                self.assertEqual((1, b''), (done.returncode, done.stdout), done.stderr)
                self.assertLess(len(done.stderr), 1000)

    def test_silence_has_an_end(self) -> None:
        for protocol, dialogue in DIALOGUES.items():
            steps = [] if protocol == 'mysql' else dialogue[:-1]
            self.assert_told(protocol, steps, 'timed out', '--starttls', options=['--timeout', '0.3'])

    def test_an_end_before_tls_is_told(self) -> None:
        for protocol, dialogue in DIALOGUES.items():
            steps = [] if protocol == 'mysql' else dialogue[:-1]
            with self.subTest(protocol=protocol):
                done = self.start(protocol, lambda connection, steps=steps: self.follow(connection, steps))
                self.assert_fails(done, 1)
                self.assertIn('end', done.stderr.decode())

    def test_unknown_protocols_are_refused(self) -> None:
        done = self.run_connect('localhost:1', '--starttls', 'gopher')
        self.assert_fails(done, 2, '--starttls', 'gopher')

    def test_openssl_serves_nothing_but_agrees_on_smtp(self) -> None:
        """What s_client takes for an SMTP server, this client takes, too."""
        with Server(tcp_listener(), self.talk_after(
                [DIALOGUES['smtp'][0], b'EHLO mail.example.com\r\n', *DIALOGUES['smtp'][2:]])) as server:
            done = subprocess.run(['openssl', 's_client', '-starttls', 'smtp', '-connect', server.target, '-quiet'],
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False)
        self.assertIn(b'secret', done.stdout, done.stderr)


if __name__ == '__main__':
    connect_support.main()
