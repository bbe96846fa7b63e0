/** Saves of a real FreeBSD 13.2 (test/samples/freebsd-13.2/saves.json). */
import { readFileSync } from 'node:fs';
import type { SavableDevice, SaveSizes } from '../../src/virt/index.js';
import { renderSaveMeta, structNumbers, type WrittenPart } from './save-meta.js';

interface Recording { readonly host: 'stock' | 'without vmx'; readonly argv: readonly string[]; readonly stdout: string; readonly files: string; readonly bhyve?: readonly string[] }

export interface RecordedSave {
  /** What the guest had, by the recording: `blknet`, `twoblk`, … */
  readonly name: string;
  readonly host: Recording['host'];
  /** Shown in full, or put together again from the entries that were shown. Of a save that bhyve gave up, the file ends behind the last entry: `ls` has 7 bytes less. */
  readonly text: string;
  readonly isShownInFull: boolean;
  /** Of FILE.meta as `ls` had it; the next two are null where `ls` was not recorded. */
  readonly metaBytes: number | null;
  readonly sizes: SaveSizes | null;
  readonly devices: readonly SavableDevice[] | null;
}

const { recordings } = JSON.parse(readFileSync(new URL('../samples/freebsd-13.2/saves.json', import.meta.url), 'utf8')) as { recordings: Recording[] };

const bytesOf = (files: string, suffix: string): bigint => BigInt(new RegExp(String.raw`(\d+) \w+ +\d+ [\d:]+ \S*?\w${suffix}$`, 'm').exec(files)![1]!);

/** `-s 2,virtio-blk,…`; a lone lpc at 31 and the bridge at 0 as well. */
const devicesOf = (argv: readonly string[]): SavableDevice[] => argv.flatMap((word, index) => {
  const [slot, model] = word.split(',');
  return argv[index - 1] === '-s' ? [{ slot: Number(slot), model: model! }] : [];
});

function rebuild(shown: string, isWhole: boolean): string {
  const parts = [...shown.matchAll(/"snapshot_req": (?:"([\w-]+)"|(\d+)),\s+"size": (\d+),/g)];
  const nameOf = (number: string): string => Object.entries(structNumbers).find(([, value]) => value === Number(number))![0];
  const kernel: WrittenPart[] = parts.filter(([, , number]) => number !== undefined).map(([, , number, bytes]) => ({ name: nameOf(number!), bytes: BigInt(bytes!) }));
  const devices: WrittenPart[] = parts.filter(([, name]) => name !== undefined).map(([, name, , bytes]) => ({ name: name!, bytes: BigInt(bytes!) }));
  const text = renderSaveMeta({ family: 'structs', vcpus: 1, guestName: 'vm1', memoryBytes: 64n * 1024n ** 2n, kernel, devices });
  return isWhole ? text : text.slice(0, -'\n  ]\n}\n'.length);
}

export const recordedSaves: readonly RecordedSave[] = recordings.map(({ host, argv, stdout, files, bhyve }) => ({
  name: /\/(\w+)\.meta$/.exec(argv.at(-1)!)![1]!, host,
  text: argv[0] === 'cat' ? stdout : rebuild(stdout, bhyve !== undefined), isShownInFull: argv[0] === 'cat',
  metaBytes: files === '' ? null : Number(bytesOf(files, '\\.meta')),
  sizes: files === '' ? null : { ramBytes: bytesOf(files, ''), kernelBytes: bytesOf(files, '\\.kern') },
  devices: bhyve === undefined ? null : devicesOf(bhyve),
}));

/** The one recording of this name. */
export const recordedSave = (host: RecordedSave['host'], name: string): RecordedSave => recordedSaves.find((save) => save.host === host && save.name === name)!;
