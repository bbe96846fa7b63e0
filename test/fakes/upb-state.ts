/** State of FreeBSD-UPB's JSON: the sample of its wiki, and a whole save around it (values of the other parts are made up). */
import { readFileSync } from 'node:fs';
import type { StateNode } from '../../src/virt/index.js';

const [, ...lines] = readFileSync(new URL('../samples/upb-state.txt', import.meta.url), 'utf8').trimEnd().split('\n');

/** What the page shows of `device_params`, closed where it is cut. */
export const wikiParameters = `${lines.join('\n')}\n"vcpus@1": [ {} ] } ] } ]`;

export const group = (members: Readonly<Record<string, StateNode>>): StateNode => ({ kind: 'group', members: new Map(Object.entries(members)) });
export const uint32 = (value: bigint): StateNode => ({ kind: 'integer', type: 'uint32', value });

const filled = (...names: string[]): Record<string, StateNode> => Object.fromEntries(names.map((name, index) => [name, group({ field: uint32(BigInt(index)) })]));

/** A guest with one disk, one network card, host bridge and lpc; what it has not is listed without members. */
export const upbState = group({
  kernel: group(filled('vhpet', 'vm', 'vioapic', 'vlapic', 'vmcx', 'vatpit', 'vatpic', 'vpmtmr', 'vrtc')),
  devices: group({ ...filled('atkbdc', 'virtio-net', 'virtio-blk'), 'virtio-rnd': group({}), ...filled('lpc'), fbuf: group({}) }),
});

/** FILE.meta with the wiki's sample as the state of `vm`. */
export const wikiMeta = `{ "basic metadata": { "ncpus": 2, "vmname": "vm1", "memsize": 1073741824, "memflags": 0, "version": 2 },
  "structs": [ { "debug_name": "vm", ${wikiParameters} } ],
  "devices": [ { "snapshot_req": "virtio-net", "device_params": [ { "vsc_features_negotiated$uint32": 5 } ] }, { "snapshot_req": "fbuf" } ] }`;
