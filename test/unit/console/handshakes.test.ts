/** What the relay says and takes, octet for octet, on a cable in memory; TLS and sockets are in test/contract/console. */
import type { Duplex } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { answerChallenge, enterScreen } from '../../../src/console/enter-screen.js';
import { greetProxy } from '../../../src/console/greet-proxy.js';
import { readExactly } from '../../../src/console/read-exactly.js';
import { duplexPair } from '../../fakes/duplex-pair.js';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const version = Buffer.from('RFB 003.008\n').toString('hex');
const material = { certificate: '', key: '', clientAuthority: '', validTo: new Date(0) };

/** Octets in turns: what the other side must have got by now, or what it says. */
type Script = readonly (readonly ['hears' | 'says', string])[];

async function play(end: Duplex, script: Script): Promise<void> {
  for (const [what, octets] of script) {
    if (what === 'says') for (const octet of hex(octets)) end.write(Buffer.from([octet])); // in the smallest pieces there are
    else expect((await readExactly(end, hex(octets).length)).toString('hex')).toBe(hex(octets).toString('hex'));
  }
}

test('half a message is waited for without looking again and again', async () => {
  const [ours, theirs] = duplexPair();
  let looks = 0;
  const read = ours.read.bind(ours);
  ours.read = (size) => {
    looks += 1;
    if (looks > 100) throw new Error('it looks again and again');
    return read(size) as unknown;
  };
  const message = readExactly(ours, 4);
  theirs.write('ha');
  for (let turn = 0; turn < 200; turn += 1) await new Promise((resolve) => { setImmediate(resolve); });
  theirs.write('lf!');
  expect((await message).toString()).toBe('half');
  expect([(await readExactly(ours, 1)).toString(), looks < 20]).toEqual(['!', true]);
});

test('the challenge is answered as by other programs that know VNC', () => {
  // Test vectors of John the Ripper's VNC format.
  expect(answerChallenge('pass1234', hex('84076f040550eea9341967633b5f3855')).toString('hex')).toBe('dd96d21781a70da49443279975404dd0');
  expect(answerChallenge('Password and more', hex('0805b790b58e967f2a350a0c99de3881')).toString('hex')).toBe('aecb26faeaaa62d79636a5934bac1078');
});

describe('towards bhyve', () => {
  const challenge = '84076f040550eea9341967633b5f3855';
  const answer = 'dd96d21781a70da49443279975404dd0';

  async function enter(password: string | undefined, script: Script): Promise<unknown> {
    const [ours, theirs] = duplexPair();
    const entered = enterScreen(ours, password).then(() => 'in', (error: unknown) => (error as { code: string }).code);
    await play(theirs, script);
    theirs.end();
    return entered;
  }

  test('a password is given as an answer to the challenge', async () => {
    expect(await enter('pass1234', [['says', version], ['hears', version], ['says', '01 02'], ['hears', '02'], ['says', challenge], ['hears', answer], ['says', '00000000']])).toBe('in');
  });

  test('a screen without password is entered by security type None', async () => {
    expect(await enter(undefined, [['says', version], ['hears', version], ['says', '01 01'], ['hears', '01'], ['says', '00000000']])).toBe('in');
  });

  test.each<[string, string | undefined, Script, string]>([
    ['does not ask for the password that the guest has', 'pass1234', [['says', version], ['hears', version], ['says', '02 01 13']], 'screen-refused'],
    ['asks for a password that nobody knows', undefined, [['says', version], ['hears', version], ['says', '01 02']], 'screen-refused'],
    ['offers nothing', 'pass1234', [['says', version], ['hears', version], ['says', '00 ffffffff']], 'screen-refused'],
    ['is of another version', 'pass1234', [['says', Buffer.from('RFB 003.003\n').toString('hex')]], 'screen-refused'],
    ['is something else', 'pass1234', [['says', Buffer.from('SSH-2.0-OpenSSH_9').toString('hex')]], 'screen-refused'],
    ['does not take the password', 'pass1234', [['says', version], ['hears', version], ['says', '01 02'], ['hears', '02'], ['says', challenge], ['hears', answer], ['says', '00000001 00000004 6e6f7065']], 'screen-refused'],
    ['hangs up', 'pass1234', [['says', version], ['hears', version], ['says', '01']], 'console-refused'],
  ])('a server that %s is not entered', async (_what, password, script, code) => {
    expect(await enter(password, script)).toBe(code);
  });
});

describe('towards a proxy', () => {
  const upToOffer: Script = [['hears', version], ['says', version], ['hears', '01 13'], ['says', '13'], ['hears', '0002'], ['says', '0002'], ['hears', '00 01 00000104']];

  async function greet(script: Script): Promise<{ code: string; rest: string }> {
    const [ours, theirs] = duplexPair();
    const greeted = greetProxy(ours, material).then(() => 'in', (error: unknown) => (error as { code: string }).code);
    await play(theirs, script);
    theirs.end();
    const code = await greeted;
    ours.end();
    const rest: Buffer[] = [];
    for await (const chunk of theirs) rest.push(chunk as Buffer);
    return { code, rest: Buffer.concat(rest).toString('hex') };
  }

  test('VeNCrypt 0.2 with X509None is what is offered, and nothing more is said before TLS', async () => {
    const [ours, theirs] = duplexPair();
    void greetProxy(ours, material).catch(() => undefined); // there are no certificates for what would follow
    await play(theirs, [...upToOffer, ['says', '00000104'], ['hears', '01']]);
    expect(theirs.read()).toBeNull();
    ours.destroy();
  });

  test.each<[string, Script, string]>([
    ['another version', [['hears', version], ['says', Buffer.from('RFB 003.003\n').toString('hex')]], ''],
    ['HTTP', [['hears', version], ['says', Buffer.from('GET / HTTP/1.1\r\n').toString('hex')]], ''],
    ['nothing', [['hears', version]], ''],
    ['security type None', [['hears', version], ['says', version], ['hears', '01 13'], ['says', '01']], ''],
    ['VNC authentication', [['hears', version], ['says', version], ['hears', '01 13'], ['says', '02']], ''],
    ['VeNCrypt 0.1', [...upToOffer.slice(0, 5), ['says', '0001']], '01'],
    ['subtype Plain', [...upToOffer, ['says', '00000100']], '00'],
    ['subtype TLSNone, which has no certificates', [...upToOffer, ['says', '00000101']], '00'],
  ])('a client that says %s is refused', async (_what, script, rest) => {
    expect(await greet(script)).toEqual({ code: 'console-refused', rest });
  });

  test('no octets break it or let anybody in, in whatever pieces they come', async () => {
    await fc.assert(fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 8 }), fc.nat(4), async (pieces, prefix) => {
      const [ours, theirs] = duplexPair();
      const greeted = greetProxy(ours, material).then(() => 'in', (error: unknown) => (error as { code: string }).code);
      for (const [what, octets] of upToOffer.slice(0, prefix * 2)) if (what === 'says') theirs.write(hex(octets));
      for (const piece of pieces) theirs.write(piece);
      theirs.end();
      theirs.resume();
      expect(await greeted).toBe('console-refused');
    }), { numRuns: 200 });
  });
});
