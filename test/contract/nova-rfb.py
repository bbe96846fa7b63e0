#!/usr/bin/python3
"""nova-novncproxy's own negotiation with a compute host: reads {"host", "port", "schemes", "ca", "cert", "key"} as JSON, plays the tenant's noVNC behind it,
and prints {"failed": class and text} or {"result": SecurityResult, "size": [width, height], "name": of ServerInit, "tls": version}."""
import json
import socket
import struct
import sys
import threading

import nova.conf
from nova import exception
from nova.console.securityproxy import rfb

CONF = nova.conf.CONF


def exactly(sock, number):
    got = b''
    while len(got) < number:
        piece = sock.recv(number - len(got))
        if not piece:
            raise EOFError('the stream ended after %r' % got)
        got += piece
    return got


def tenant(sock):
    """noVNC, as far as the proxy speaks to it itself."""
    try:
        exactly(sock, 12)
        sock.sendall(b'RFB 003.008\n')
        exactly(sock, 2)
        sock.sendall(b'\x01')
    except (EOFError, OSError):
        pass


def main():
    asked = json.load(sys.stdin)
    CONF([], project='nova', default_config_files=[])
    CONF.set_override('auth_schemes', asked['schemes'], 'vnc')
    CONF.set_override('vencrypt_ca_certs', asked['ca'], 'vnc')
    CONF.set_override('vencrypt_client_cert', asked['cert'], 'vnc')
    CONF.set_override('vencrypt_client_key', asked['key'], 'vnc')
    ours, theirs = socket.socketpair()
    threading.Thread(target=tenant, args=(theirs,), daemon=True).start()
    compute = socket.create_connection((asked['host'], asked['port']), 60)
    try:
        secured = rfb.RFBSecurityProxy().connect(ours, compute)
        result = struct.unpack('!I', exactly(secured, 4))[0]
        secured.sendall(b'\x01')
        head = exactly(secured, 24)
        width, height = struct.unpack('!HH', head[:4])
        name = exactly(secured, struct.unpack('!I', head[20:])[0]).decode()
        print(json.dumps({'result': result, 'size': [width, height], 'name': name, 'tls': secured.version()}))
    except (exception.SecurityProxyNegotiationFailed, EOFError, OSError) as error:
        print(json.dumps({'failed': '%s: %s' % (type(error).__name__, error)}))


main()
