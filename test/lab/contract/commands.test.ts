import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenPlace, openPlace } from './place.js';
import { type Place, type Recording, type Rule, describeDifferences, recordings, replayAll, replayInOrder } from './replay.js';

let open: OpenPlace;
let place: Place;
beforeAll(async () => {
  open = await openPlace();
  place = { ...open.place, names: [...open.files, ...open.files.map(([, folder]) => ['/etc/rc.conf', `${folder}/k.conf`] as const), ...open.place.names] };
});
afterAll(async () => {
  await open.close();
});

const command = (recording: Recording): string => recording.argv.join(' ');
const has = (pattern: RegExp) => (recording: Recording): boolean => pattern.test(command(recording));
const isRestore = has(/(^| )-r( |$)/);

describe('bhyve', () => {
  const all = recordings('bhyve').filter((recording) => recording.argv[0] === 'bhyve' || recording.argv[0] === 'timeout').filter((recording) => !isRestore(recording));

  it('takes, dumps and refuses arguments as bhyve of 13.2 does', async () => {
    const parsing = all.filter((recording) => recording.argv[0] === 'bhyve');
    expect(parsing.length).toBeGreaterThan(120);
    expect(describeDifferences(await replayAll(place, parsing))).toBe('');
  });

  it('refuses machines that cannot be set up with the words and codes of 13.2', async () => {
    const rules: readonly Rule[] = [
      { when: has(/vale0|netgraph/), skip: 'all', why: 'no netmap, no netgraph' },
      { when: has(/gdb|-G banana/), skip: 'all', why: 'the debug server is not modelled' },
      { when: has(/virtio-console/), skip: 'all', why: 'not modelled' },
      { when: (recording) => recording.stderr.includes('0x400'), skip: 'stderr', why: 'an artefact of the recorded host' },
    ];
    const failing = all.filter((recording) => recording.argv[0] === 'timeout' && recording.code !== 124 && recording.argv.at(-1) !== 'a/b');
    // Each with a name of its own, so that they can run at once and none meets what another left.
    const named = failing.map((recording, index) => ({ ...recording, argv: recording.argv.map((word, at) => (at === recording.argv.length - 1 && word === 'vm' ? `vm${index}` : word)) }));
    expect(named.length).toBeGreaterThan(50);
    expect(describeDifferences(await replayAll(place, named, rules))).toBe('');
  });

  it('lists only device models that it knows', async () => {
    const { stdout } = await place.run(['bhyve', '-s', 'help']);
    expect(stdout.split('\n')).toContain('virtio-blk');
  });
});

describe('bhyvectl', () => {
  it('answers as bhyvectl of a 13.2 without BHYVE_SNAPSHOT does', async () => {
    const rules: readonly Rule[] = [
      { when: has(/--suspend|--checkpoint/), skip: 'all', why: 'a stock build does not know them' },
      { when: has(/--get-all/), skip: 'stdout', why: 'registers are not modelled' },
      { when: has(/--cpu=5/), skip: 'all', why: 'the recorded host had two CPUs' },
      { when: has(/--vm=vm --destroy|--vm=a\/b/), skip: 'all', why: 'left by other programs in that session' },
    ];
    expect(describeDifferences(await replayInOrder(place, recordings('bhyvectl'), rules))).toBe('');
  });

  it('knows no save request on a stock build', async () => {
    const { code, stderr } = await place.run(['bhyvectl', '--vm=x', '--suspend=/tmp/x']);
    expect({ code, isUnknown: stderr.includes("unrecognized option `--suspend'") }).toEqual({ code: 1, isUnknown: true });
  });
});

describe('sysctl', () => {
  it('has the names, values and errors of 13.2', async () => {
    const rules: readonly Rule[] = [
      { when: has(/kern\.hostname|hostuuid|cp_times|topology_spec|dev\.vtnet\.0$|dev\.cpu$/), skip: 'stdout', why: 'another host' },
      { when: has(/sysctl -[dtx] |vm\.stats$|vm\.stats\.vm$/), skip: 'stdout', why: 'descriptions, types and order are not modelled' },
    ];
    // Each name was read with and without -n; half of that tells the same.
    const chosen = recordings('sysctl').filter((recording, index) => !has(/sysctl (-n )?net\.link\.tap\.up_on_open=/)(recording) && (recording.argv.length > 2 || index % 8 === 0));
    expect(chosen.length).toBeGreaterThan(120);
    expect(describeDifferences(await replayAll(place, chosen, rules))).toBe('');
  });

  it('remembers what was set', async () => {
    await place.run(['sysctl', 'net.link.tap.up_on_open=1']);
    expect(await place.run(['sysctl', '-n', 'net.link.tap.up_on_open=0'])).toEqual({ code: 0, stdout: '1 -> 0\n', stderr: '' });
  });
});

describe('small tools', () => {
  const rules: readonly Rule[] = [
    { when: has(/^netstat( -[rmLa]| --libxo json -[rs])|^ps (-H|$)|^ps$|^kldunload (zfs|fusefs)|^ps -p 1 -o pid=|^pciconf -r|^ps -o nosuchkey/), skip: 'all', why: 'not modelled' },
    { when: has(/^kldunload|^kldload (-n )?(if_vxlan|nmdm|-nv if_vxlan)|^kldload -nv|^kldstat -m nmdm|^kldload (vmm|nmdm nosuchmod2)|^kldstat -v -n vmm/), skip: 'all', why: 'other modules were loaded' },
    { when: has(/^uname (-a|-n)|^kldstat( -h| -v.*)?$|^netstat|^ps|^limits$|^pciconf|^uptime|^freebsd-version/), skip: 'stdout', why: 'another host' },
    { when: has(/^daemon/), skip: 'all', why: 'below' },
  ];

  it('answer as those of 13.2', async () => {
    // Refused machines leave their VMs behind, and vmm stays while there are any.
    for (const name of (await place.run(['ls', `${open.node?.deviceRoot ?? '/dev'}/vmm`])).stdout.split('\n')) if (name !== '') await place.run(['bhyvectl', `--vm=${name}`, '--destroy']);
    expect((await place.run(['kldunload', 'vmm'])).code).toBe(0);
    expect(describeDifferences(await replayInOrder(place, recordings('system'), rules))).toBe('');
  });

  it('daemon detaches a command, keeps its pid file and refuses a second one', async () => {
    const pidFile = `/tmp/lab-daemon-${process.pid}.pid`;
    expect((await place.run(['daemon', '-p', pidFile, '-f', 'sleep', '30'])).code).toBe(0);
    const second = await place.run(['daemon', '-p', pidFile, '-f', 'sleep', '30']);
    expect(second.code).toBe(3);
    const pid = /pid: (\d+)/.exec(second.stderr)?.[1] ?? '';
    const shown = await place.run(['ps', '-p', pid, '-o', 'pid,command']);
    expect(shown.stdout).toContain('sleep 30');
    await place.run(['kill', pid]);
    expect((await place.run(['daemon'])).code).toBe(1);
    expect((await place.run(['daemon', '-p', '/nosuch/d.pid', 'sleep', '1'])).code).toBe(2);
  });
});
