import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Bug } from '../../../src/lib/assert.js';
import { assertBelow, layoutOf, parseRoot } from '../../../src/storage/dataset-names.js';
import { assertOurs, asProperties, markProperties, marksOf } from '../../../src/storage/marks.js';
import { zfsError } from '../../../src/storage/zfs-errors.js';
import { createZfs, parseGet, roundUpToMebibyte } from '../../../src/storage/zfs.js';
import { createFakeHost } from '../../fakes/host.js';
import { createFakeZfs } from '../../fakes/zfs.js';

interface Recording { argv: string[]; stdout: string; stderr: string; code: number }
const { recordings } = JSON.parse(readFileSync(new URL('../../samples/freebsd-13.2/zfs.json', import.meta.url), 'utf8')) as { recordings: Recording[] };

describe('names', () => {
  test.each(['tank', 'tank/nova', 'lab-node1/nova', 'a/b_c/d.e:f'])('%s may be a root', (name) => expect(parseRoot(name)).toBe(name));
  test.each(['', '/tank', 'tank/', 'tank//x', 'tank/..', 'tank/.', 'tank@s', 'tank/a b', '-r', 'tank/-r', 'tank#b', 'tank/ä', 'tank%x', `tank/${'n'.repeat(255)}`])(
    '%s may not', (name) => expect(() => parseRoot(name)).toThrow(expect.objectContaining({ code: 'zfs-bad-root' }) as Error));

  test.each(['tank', 'tank/nova', 'tank/novax/y', 'tank/nova/', 'tank/nova/../x', 'tank/nova/a@', 'tank/nova/a@b@c', 'tank/nova@s', 'tank/nova/a@b/c', 'tank/nova/-x', 'tank/nova/a@-x', '-r'])(
    '%s is not below tank/nova', (name) => expect(() => assertBelow('tank/nova', name)).toThrow(Bug));

  test('whatever passes the guard starts with the root and holds nothing that zfs reads as syntax', () => {
    fc.assert(fc.property(fc.string({ unit: fc.constantFrom('a', '/', '@', '.', '-', ' ', '#', '%', '\t', '\n') }), (tail) => {
      const name = `tank/nova/${tail}`;
      try {
        assertBelow('tank/nova', name);
      } catch {
        return;
      }
      expect(name).toMatch(/^tank\/nova\/[A-Za-z0-9][\w.:-]*(?:\/[A-Za-z0-9][\w.:-]*)*(?:@[A-Za-z0-9][\w.:-]*)?$/);
    }));
  });

  test('the layout is the one that is promised', () => {
    const layout = layoutOf('tank/nova');
    expect([layout.imageBase('I' as never), layout.disk('U' as never, 'root'), layout.graveyard]).toEqual(['tank/nova/images/I@base', 'tank/nova/instances/U/root', 'tank/nova/graveyard']);
  });
});

describe('errors of zfs', () => {
  const codes: Readonly<Record<string, string>> = {
    'zfs create tank/vms': 'zfs-exists', 'zfs create tank/a/b/c': 'zfs-missing', 'zfs create nosuch/x': 'zfs-missing', 'zfs create -o banana=1 tank/x': 'zfs-failed',
    'zfs create -V 10G tank/vms/toobig': 'zfs-out-of-space', 'zfs set volsize=100G tank/vms/disk0': 'zfs-out-of-space', 'zfs get -H used tank/nosuch': 'zfs-missing',
    'zfs snapshot tank/vms/disk0@s1': 'zfs-exists', 'zfs snapshot tank/nosuch@s1': 'zfs-missing', 'zfs clone tank/vms/disk0@s1 tank/vms/clone1': 'zfs-exists',
    'zfs clone tank/vms/disk0@nosuch tank/vms/clone2': 'zfs-missing', 'zfs destroy tank/vms/disk0@s1': 'zfs-has-dependents', 'zfs destroy tank/vms/disk0': 'zfs-has-dependents',
    'zfs destroy tank/vms/disk0@nosuch': 'zfs-missing', 'zfs destroy tank/busy': 'zfs-busy', 'zfs destroy tank/vms/disk0@h1': 'zfs-busy',
    'zfs rename tank/vms/byt2 tank/vms/disk0': 'zfs-exists', 'zfs rename tank/vms/byt2 other/byt2': 'zfs-missing', 'zfs create tank/ro': 'zfs-read-only',
    'zfs set volsize=1001K tank/vms/disk0': 'zfs-failed', 'zfs get -Hp banana tank/vms': 'zfs-failed', 'zfs list -Hp nosuch': 'zfs-missing',
  };
  test.each(Object.entries(codes))('%s is %s', (command, code) => {
    const recorded = recordings.find((entry) => entry.argv.join(' ') === command && entry.code !== 0)!;
    const error = zfsError('x', 'tank/x', recorded);
    expect(error.code).toBe(code);
    expect(error.retry).toBe(['zfs-busy', 'zfs-out-of-space', 'zfs-read-only'].includes(code) ? 'later' : 'no');
    expect(error.details['exit']).toBe(recorded.code);
  });

  test('tells a busy volume from one with clones, which are destroyed by the same command', () => {
    const both = recordings.filter((entry) => entry.argv.join(' ') === 'zfs destroy -r tank/vms/disk0');
    expect(both.map((entry) => zfsError('destroy', 'x', entry).code).sort()).toEqual(['zfs-busy', 'zfs-has-dependents']);
  });
});

describe('the reader of zfs get', () => {
  test('knows own from inherited values, and keeps tabs in a value', () => {
    const { stdout } = recordings.find((entry) => entry.argv.join(' ') === 'zfs get -Hp -r org.example:tab tank/vms')!;
    const read = parseGet(stdout);
    expect(read.get('tank/vms')!.get('org.example:tab')).toEqual({ value: 'a\tb', isOwn: true });
    expect(read.get('tank/vms/byt')!.get('org.example:tab')).toEqual({ value: 'a\tb', isOwn: false });
  });

  test('leaves out what is not set but keeps the dataset', () => {
    expect([...parseGet('tank/vms\torg.example:unset\t-\t-\n')]).toEqual([['tank/vms', new Map()]]);
    expect(parseGet('')).toEqual(new Map());
    expect(() => parseGet('nonsense\n')).toThrow(expect.objectContaining({ code: 'command-output-unreadable' }) as Error);
  });
});

describe('the client', () => {
  function client(): { zfs: ReturnType<typeof createZfs>; commands: string[] } {
    const fake = createFakeZfs();
    const host = createFakeHost({ tools: { zfs: ({ args }) => fake.run(args) } });
    fake.run(['create', 'tank/nova']);
    fake.run(['create', 'tank/other']);
    return { zfs: createZfs(host, 'tank/nova'), commands: host.commands };
  }

  test('runs nothing for a name outside its root', async () => {
    const { zfs, commands } = client();
    const outside = ['tank/other', 'tank/nova', 'tank', 'tank/nova/../other', 'tank/nova@s'];
    for (const name of outside) {
      const attempts = [zfs.createVolume(name, 1048576n, {}), zfs.set(name, { volmode: 'dev' }), zfs.destroyTree(name), zfs.rename(name, 'tank/nova/x'), zfs.rename('tank/nova/x', name),
        zfs.snapshot(`${name}@s`), zfs.clone(`${name}@s`, 'tank/nova/c', {}), zfs.clone('tank/nova/x@s', name, {})];
      if (name !== 'tank/nova') attempts.push(zfs.createFilesystem(name, {}), zfs.get(name, ['type']).then(() => undefined));
      for (const attempt of attempts) await expect(attempt, name).rejects.toThrow(Bug);
    }
    expect(commands).toEqual([]);
  });

  test('uses the command forms of the recordings', async () => {
    const { zfs, commands } = client();
    await zfs.createFilesystem('tank/nova/d', { mountpoint: 'none' });
    await zfs.createVolume('tank/nova/d/v', 1048576n, { volblocksize: '16384', 'org.nova-bhyve:kind': 'image' });
    await zfs.snapshot('tank/nova/d/v@base');
    await zfs.clone('tank/nova/d/v@base', 'tank/nova/d/c', { 'org.nova-bhyve:kind': 'disk' });
    await zfs.set('tank/nova/d/c', { volsize: '2097152' });
    await zfs.rename('tank/nova/d/c', 'tank/nova/d/e');
    const read = await zfs.get('tank/nova/d', ['volsize', 'org.nova-bhyve:kind'], { recursive: true });
    await expect(zfs.destroyTree('tank/nova/d/v')).rejects.toMatchObject({ code: 'zfs-has-dependents' });
    expect(commands).toEqual([
      'zfs create -o mountpoint=none tank/nova/d',
      'zfs create -s -V 1048576 -o volblocksize=16384 -o org.nova-bhyve:kind=image tank/nova/d/v',
      'zfs snapshot tank/nova/d/v@base',
      'zfs clone -o org.nova-bhyve:kind=disk tank/nova/d/v@base tank/nova/d/c',
      'zfs set volsize=2097152 tank/nova/d/c',
      'zfs rename tank/nova/d/c tank/nova/d/e',
      'zfs get -Hp -r -t filesystem,volume,snapshot -o name,property,value,source volsize,org.nova-bhyve:kind tank/nova/d',
      'zfs destroy -r tank/nova/d/v',
    ]);
    expect([...read.keys()]).toEqual(['tank/nova/d', 'tank/nova/d/e', 'tank/nova/d/v', 'tank/nova/d/v@base']);
    expect(read.get('tank/nova/d/e')!.get('volsize')!.value).toBe('2097152');
    expect(marksOf(read.get('tank/nova/d/v@base'))).toEqual({});
  });

  test('takes a dataset that does not exist as nothing, but not another failure', async () => {
    const { zfs } = client();
    expect(await zfs.get('tank/nova/none', ['type'])).toEqual(new Map());
    await expect(zfs.get('tank/nova', ['banana'])).rejects.toMatchObject({ code: 'zfs-failed' });
  });

  test('does not take a child that goes away during the listing for the absence of all', async () => {
    const fake = createFakeZfs();
    fake.run(['create', 'tank/nova']);
    fake.run(['create', 'tank/nova/a']);
    let interruptions = 2;
    const host = createFakeHost({ tools: { zfs: ({ args }) => (interruptions-- > 0 ? { code: 1, stdout: 'tank/nova\ttype\tfilesystem\t-\n', stderr: "cannot open 'tank/nova/b': dataset does not exist\n" } : fake.run(args)) } });
    const zfs = createZfs(host, 'tank/nova');
    expect([...(await zfs.get('tank/nova', ['type'], { recursive: true })).keys()]).toEqual(['tank/nova', 'tank/nova/a']);
    interruptions = Infinity;
    await expect(zfs.get('tank/nova', ['type'], { recursive: true })).rejects.toMatchObject({ code: 'zfs-missing' });
  });

  test('takes no size that is not whole mebibytes and no value that could break a line', async () => {
    const { zfs, commands } = client();
    await expect(zfs.createVolume('tank/nova/v', 1000n, {})).rejects.toThrow(Bug);
    await expect(zfs.set('tank/nova/v', { 'org.nova-bhyve:kind': 'a\nb' })).rejects.toThrow(Bug);
    await expect(zfs.set('tank/nova/v', { '-r': 'x' })).rejects.toThrow(Bug);
    expect(commands).toEqual([]);
    expect([roundUpToMebibyte(1n), roundUpToMebibyte(1048576n), roundUpToMebibyte(1048577n)]).toEqual([1048576n, 1048576n, 2097152n]);
  });
});

describe('marks', () => {
  test('count only on the dataset itself', () => {
    const inherited = parseGet('tank/x\torg.nova-bhyve:kind\timage\tinherited from tank\ntank/x\torg.nova-bhyve:image\tI\tlocal\n').get('tank/x');
    expect(marksOf(inherited)).toEqual({ image: 'I' });
    expect(() => assertOurs('tank/x', inherited, { kind: 'image', image: 'I' })).toThrow(expect.objectContaining({ code: 'zfs-foreign' }) as Error);
    expect(() => assertOurs('tank/x', undefined, { kind: 'image' })).toThrow();
    assertOurs('tank/x', inherited, { image: 'I' });
  });

  test('have names that zfs takes for user properties', () => {
    for (const name of [...markProperties, ...Object.keys(asProperties({ kind: 'disk' }))]) expect(name).toMatch(/^[a-z0-9.-]+:[a-z0-9-]+$/);
  });
});
