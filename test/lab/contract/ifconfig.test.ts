import { afterAll, beforeAll, expect, it } from 'vitest';
import { type OpenPlace, openPlace } from './place.js';
import { type Recording, type Rule, describeDifferences, recordings, replayInOrder } from './replay.js';

let open: OpenPlace;
beforeAll(async () => {
  open = await openPlace();
  // The recorded host had no bridge at first, so units count from 0 there.
  await open.node?.leaks();
  await open.place.run(['ifconfig', 'br-physnet1', 'destroy']);
});
afterAll(async () => {
  await open.close();
});

const command = (recording: Recording): string => recording.argv.join(' ');
const is = (...texts: string[]) => (recording: Recording): boolean => texts.includes(command(recording));
const has = (...texts: string[]) => (recording: Recording): boolean => texts.some((text) => command(recording).includes(text));

const rules: readonly Rule[] = [
  { when: is('ifconfig', 'ifconfig -a', 'ifconfig -v vtnet0', 'ifconfig -m vtnet0', 'ifconfig vtnet0', 'ifconfig -f inet:cidr vtnet0', 'ifconfig lo0'), skip: 'stdout', why: 'the uplink of a lab node has no address, its lo0 no IPv6' },
  { when: has('has space', 'exactly15chars1 name tap0'), skip: 'all', why: 'Linux allows no blank in a name' },
  { when: has('epair', 'ifconfig vmnet', 'tun create', 'tun0'), skip: 'all', why: 'not modelled' },
  { when: has('tap5'), skip: 'all', why: 'a process held it open in that session' },
  { when: (recording) => /role disabled|fd00:77/.test(recording.stdout), skip: 'stdout', why: 'spanning tree and IPv6 of bridges are not modelled' },
  { when: (recording) => has('vxlan')(recording) && !/invalid/.test(recording.stderr), skip: 'all', why: 'Linux refuses what FreeBSD lets be: two of one VNI, one without' },
  { when: (recording) => /vxlan\d/.test(recording.stdout), skip: 'stdout', why: 'as above' },
  { when: is('ifconfig bridge7'), skip: 'order', why: 'members come in another order' },
];

it('answers a whole session of FreeBSD 13.2 with taps, bridges and vlans, good commands and bad ones', async () => {
  const session = recordings('ifconfig');
  const between = async (argv: string): Promise<void> => {
    // Linux would have renamed it to "has space" and back.
    if (argv === 'ifconfig -g tap' && (await open.place.run(['ifconfig', 'exactly15chars1'])).code === 0) await open.place.run(['ifconfig', 'exactly15chars1', 'name', 'tap0']);
  };
  const differences = await replayInOrder(open.place, session, [...rules, { when: (recording) => recording.stdout.includes('has space'), skip: 'all', why: 'as above' }], between);
  expect(describeDifferences(differences)).toBe('');
}, 240_000);
