#!/usr/bin/python3
"""Makes the certificates and the configuration that the programs in this folder take.

usage: certificates.py FOLDER

    ca.pem                    signs the next two
    server.pem server.key     an ordinary server, with its chain
    aia.pem aia.key           a server whose authorityInfoAccess extension does not parse
    stranger.pem stranger.key a server that nobody trusts
    ciphersuites.cnf          an OpenSSL configuration with a misspelt cipher suite
"""

import pathlib
import subprocess
import sys

# The extension is an OCTET STRING that should hold a SEQUENCE. No check of a chain looks into it.
REQUEST = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:localhost, IP:127.0.0.1
[aia]
basicConstraints = critical, CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:localhost, IP:127.0.0.1
authorityInfoAccess = DER:30:03:01:02:03
"""

CIPHERSUITES = """
openssl_conf = modules
[modules]
ssl_conf = ssl
[ssl]
system_default = contexts
[contexts]
Ciphersuites = TLS_AES_256_GCM_SHA348
"""


def make(folder: pathlib.Path) -> None:
    (folder / 'request.cnf').write_text(REQUEST)
    (folder / 'ciphersuites.cnf').write_text(CIPHERSUITES)
    make_one(folder, 'ca', 'ca')
    make_one(folder, 'server', 'server', 'ca')
    make_one(folder, 'aia', 'aia', 'ca')
    make_one(folder, 'stranger', 'server')
    chain = (folder / 'ca.pem').read_text()
    for name in ('server', 'aia'):
        with open(folder / f'{name}.pem', 'a') as file:
            file.write(chain)


def make_one(folder: pathlib.Path, name: str, extensions: str, issuer: str = '') -> None:
    command = ['openssl', 'req', '-x509', '-config', 'request.cnf', '-extensions', extensions,
               '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
               '-subj', f'/CN={name}', '-keyout', f'{name}.key', '-out', f'{name}.pem']
    if issuer:
        command += ['-CA', f'{issuer}.pem', '-CAkey', f'{issuer}.key']
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    pathlib.Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    make(pathlib.Path(sys.argv[1]))
