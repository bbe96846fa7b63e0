/** The client's side of RFB up to the SecurityResult, as bhyve wants it (usr.sbin/bhyve/rfb.c: version 3.8, and one security type). */
import { createCipheriv } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { AgentError } from '../lib/errors.js';
import { readExactly } from './read-exactly.js';
import { rfbVersion, securityTypes } from './rfb.js';

const refused = (what: string): AgentError => new AgentError('screen-refused', what, { retry: 'later' });

/**
 * Resolves when the server has let us in; ClientInit is what it waits for next. A guest with a password is never entered without: who does not ask for it is not
 * its bhyve. AgentError `screen-refused`, `console-refused` if it hangs up.
 */
export async function enterScreen(stream: Duplex, password: string | undefined): Promise<void> {
  if (!(await readExactly(stream, rfbVersion.length)).equals(rfbVersion)) throw refused('what listens at the port of the screen does not speak RFB 3.8');
  stream.write(rfbVersion);
  const [count = 0] = await readExactly(stream, 1);
  const types = count === 0 ? Buffer.alloc(0) : await readExactly(stream, count);
  const wanted = password === undefined ? securityTypes.none : securityTypes.vncAuthentication;
  if (!types.includes(wanted)) throw refused(password === undefined ? 'the screen asks for a password, and has none in instance.json' : 'the screen does not ask for its password');
  stream.write(Buffer.from([wanted]));
  if (password !== undefined) stream.write(answerChallenge(password, await readExactly(stream, 16)));
  if ((await readExactly(stream, 4)).readUInt32BE() !== 0) throw refused('the screen does not take its password');
}

/** Reads a byte from its other end, as VNC does with those of the key. */
function reversed(byte: number): number {
  let result = 0;
  for (let bit = 0; bit < 8; bit += 1) result |= ((byte >> bit) & 1) << (7 - bit);
  return result;
}

/**
 * RFC 6143, 7.2.2: the challenge enciphered by DES with the first eight octets of the password. OpenSSL 3 has DES in its legacy provider only, but triple DES with the
 * same key three times is the same.
 */
export function answerChallenge(password: string, challenge: Uint8Array): Buffer {
  const key = Buffer.alloc(8);
  key.write(password, 'latin1');
  const one = Buffer.from(key.map(reversed));
  const cipher = createCipheriv('des-ede3-ecb', Buffer.concat([one, one, one]), null).setAutoPadding(false);
  return Buffer.concat([cipher.update(challenge), cipher.final()]);
}
