import { damaged } from './damaged.js';
import { parseExactJson, type ExactJson } from './exact-json.js';
import { freeName } from './free-name.js';
import { asList, asObject, integerMember, maxInteger, member, nameMember, type JsonObject } from './members.js';
import { parseState } from './parse-state.js';
import type { SavedPart, SaveFamily, SaveMeta, StateNode } from './types.js';

/** 64 MiB: the stock families need some KiB, but upb-json holds a guest's screen (16 or 32 MiB) as base64. */
export const maxMetaBytes = 64 * 1024 * 1024;

const limits = { maxCharacters: maxMetaBytes, maxDepth: 64, maxValues: 1_000_000 } as const;
const maxParts = 4096; // bhyve has 256 slots of 8 functions at most
const maxVcpus = 65_535n; // vmm(4) counts them in 16 bits

/** The top-level list of the kernel's structs of a family. */
export const kernelKey = (family: SaveFamily): 'structs' | 'kern_structs' => (family === 'kern-structs' ? 'kern_structs' : 'structs');

interface Parts {
  readonly parts: readonly SavedPart[];
  readonly states: ReadonlyMap<string, StateNode>;
}

/**
 * The description of a save, from the whole text of FILE.meta. AgentError `save-damaged`, whose message and details have the path of the member that is wrong, for
 * anything that bhyve would not write: also for a file that is empty or cut short, as it is while the save goes on. What is well formed need not be
 * complete: ask `faultsOfSave`.
 */
export function parseSaveMeta(text: string): SaveMeta {
  const top = asObject(parseExactJson(text, limits), '');
  const basic = asObject(member(top, 'basic metadata', ''), 'basic metadata');
  const family = familyOf(top);
  if (basic.has('memflags')) integerMember(basic, 'memflags', 'basic metadata', 0n, maxInteger);
  const kernel = parseParts(top, kernelKey(family), family, 'kernel');
  const devices = parseParts(top, 'devices', family, 'devices');
  return {
    family,
    vcpus: Number(integerMember(basic, 'ncpus', 'basic metadata', 1n, maxVcpus)),
    guestName: nameMember(basic, 'vmname', 'basic metadata'),
    memoryBytes: integerMember(basic, 'memsize', 'basic metadata', 1n, maxInteger),
    kernel: kernel.parts,
    devices: devices.parts,
    state: family !== 'upb-json' ? null : {
      kind: 'group', members: new Map([['kernel', { kind: 'group', members: kernel.states }], ['devices', { kind: 'group', members: devices.states }]]),
    },
  };
}

/** By content, never by a version: which lists there are, and whether their entries hold state or say where it is. */
function familyOf(top: JsonObject): SaveFamily {
  if (!top.has('kern_structs')) {
    const entries = ['structs', 'devices'].flatMap((key) => asList(member(top, key, ''), key));
    return entries.some((entry) => entry instanceof Map && entry.has('device_params')) ? 'upb-json' : 'structs';
  }
  if (top.has('structs')) throw damaged('structs', 'is there beside kern_structs');
  return 'kern-structs';
}

function parseParts(top: JsonObject, key: string, family: SaveFamily, kind: 'kernel' | 'devices'): Parts {
  const entries = asList(member(top, key, ''), key);
  if (entries.length > maxParts) throw damaged(key, `has more than ${maxParts} entries`);
  const parts: SavedPart[] = [];
  const states = new Map<string, StateNode>();
  const numbers = new Map<bigint, string>();
  for (const [index, entry] of entries.entries()) {
    const path = `${key}[${index}]`;
    const object = asObject(entry, path);
    const name = nameMember(object, family === 'kern-structs' ? 'device' : kind === 'kernel' ? 'debug_name' : 'snapshot_req', path);
    if (family === 'upb-json') {
      parts.push({ name, bytes: null, offset: null });
      states.set(freeName(states, name), parseParameters(object, path));
      continue;
    }
    if (family === 'structs' && kind === 'kernel') noteNumber(numbers, integerMember(object, 'snapshot_req', path, 0n, maxInteger), path);
    const bytes = integerMember(object, 'size', path, 0n, maxInteger);
    parts.push({ name, bytes, offset: integerMember(object, 'file_offset', path, 0n, maxInteger - bytes) });
  }
  return { parts, states };
}

/** bhyve finds these structs by their number, so the second one would never be read. */
function noteNumber(numbers: Map<bigint, string>, number: bigint, path: string): void {
  const other = numbers.get(number);
  if (other !== undefined) throw damaged(`${path}.snapshot_req`, `is ${number}, as that of ${other}`);
  numbers.set(number, path);
}

/** An entry without parameters stands for something that the guest does not have. */
function parseParameters(entry: JsonObject, path: string): StateNode {
  const parameters: ExactJson = entry.get('device_params') ?? [];
  return parseState(parameters, `${path}.device_params`);
}
