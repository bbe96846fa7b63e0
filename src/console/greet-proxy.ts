/**
 * The server's side of RFB up to TLS, as nova-novncproxy expects it of a compute host with `auth_schemes=vencrypt` (nova/console/rfb/authvencrypt.py; the
 * protocol: rfbproto.rst, "VeNCrypt"). The proxy reads each of its fields with one recv(), so a field is never sent in pieces.
 */
import { createServer, type TLSSocket } from 'node:tls';
import type { Duplex } from 'node:stream';
import { AgentError } from '../lib/errors.js';
import { readExactly } from './read-exactly.js';
import { rfbVersion, securityTypes } from './rfb.js';
import type { TlsMaterial } from './tls-files.js';

const veNCryptVersion = Buffer.from([0, 2]);
/** TLS with certificates, and no further authentication in it. */
const x509None = 260;

const refused = (what: string, cause?: unknown): AgentError => new AgentError('console-refused', what, { cause });

/**
 * Resolves with the encrypted stream of a client that has a certificate of `tls.ca`; a SecurityResult is what it waits for next. AgentError `console-refused` for every
 * other. It waits as long as the client does: the caller has a limit, and destroys the socket then.
 */
export async function greetProxy(socket: Duplex, tls: TlsMaterial): Promise<TLSSocket> {
  socket.write(rfbVersion);
  if (!(await readExactly(socket, rfbVersion.length)).equals(rfbVersion)) throw refused('the client does not speak RFB 3.8');
  socket.write(Buffer.from([1, securityTypes.veNCrypt]));
  if ((await readExactly(socket, 1))[0] !== securityTypes.veNCrypt) throw refused('the client does not take VeNCrypt: set [vnc] auth_schemes of nova-novncproxy to vencrypt');
  socket.write(veNCryptVersion);
  if (!(await readExactly(socket, 2)).equals(veNCryptVersion)) {
    socket.write(Buffer.from([1]));
    throw refused('the client does not speak VeNCrypt 0.2');
  }
  const offer = Buffer.from([0, 1, 0, 0, 0, 0]); // the version is fine, and there is one subtype
  offer.writeUInt32BE(x509None, 2);
  socket.write(offer);
  if ((await readExactly(socket, 4)).readUInt32BE() !== x509None) {
    socket.write(Buffer.from([0]));
    throw refused('the client does not take X509None');
  }
  socket.write(Buffer.from([1])); // not in the protocol's text, but in all of its programs
  return secure(socket, tls);
}

/** By a server of its own that listens nowhere, because only a tls.Server looks whether a client's certificate is a good one. */
function secure(socket: Duplex, { certificate, key, clientAuthority }: TlsMaterial): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const options = { cert: certificate, key, ca: clientAuthority, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.2' } as const;
    const server = createServer(options, (secured) => {
      secured.on('error', () => secured.destroy()); // whoever reads sees the end
      if (secured.authorized) resolve(secured);
      else reject(refused('the client has no certificate of [vnc] tls_client_ca_file'));
    });
    server.on('tlsClientError', (cause, broken) => {
      broken.destroy();
      reject(refused('no TLS with a certificate of [vnc] tls_client_ca_file', cause));
    });
    server.emit('connection', socket);
  });
}
