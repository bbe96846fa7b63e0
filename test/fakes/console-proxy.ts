/** nova-novncproxy as a guarded screen sees it: RFB 3.8 with VeNCrypt, step by step, and then TLS with the certificate that it has. */
import type { Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { readExactly } from '../../src/console/read-exactly.js';
import type { CertificateName, Certificates } from './certificates.js';

/** Up to where TLS begins; throws if something else is offered. */
export async function askForTls(socket: Socket): Promise<void> {
  const turns = [['524642203030332e3030380a', '524642203030332e3030380a'], ['0113', '13'], ['0002', '0002'], ['000100000104', '00000104'], ['01', '']] as const;
  for (const [hears, says] of turns) {
    const heard = (await readExactly(socket, hears.length / 2)).toString('hex');
    if (heard !== hears) throw new Error(`expected ${hears}, and it says ${heard}`);
    socket.write(Buffer.from(says, 'hex'));
  }
}

/** The same said at once, and heard afterwards. */
export async function askAtOnce(socket: Socket): Promise<void> {
  socket.write(Buffer.from('524642203030332e3030380a' + '13' + '0002' + '00000104', 'hex'));
  await readExactly(socket, 23);
}

/** A SecurityResult is what it hears next, or the end. `ask` has come up to where TLS begins. */
export async function secureAs(socket: Socket, certificates: Certificates, name: CertificateName | null, options: ConnectionOptions = {}, ask = askForTls): Promise<TLSSocket> {
  await ask(socket);
  const own = name === null ? {} : { cert: certificates.text(name, 'pem'), key: certificates.text(name, 'key') };
  const tls = connectTls({ socket, ca: certificates.text('ca', 'pem'), checkServerIdentity: () => undefined, ...own, ...options });
  tls.on('error', () => tls.destroy());
  return tls;
}
