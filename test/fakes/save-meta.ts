/** Descriptions of saves as bhyve writes them through libxo. Held to files of a real 13.2 by the tests of src/virt/saves. */
import type { StateNode } from '../../src/virt/index.js';

export interface WrittenPart {
  readonly name: string;
  readonly bytes: bigint;
}

export interface WrittenSave {
  readonly family: 'structs' | 'kern-structs';
  readonly vcpus: number;
  readonly guestName: string;
  readonly memoryBytes: bigint;
  readonly kernel: readonly WrittenPart[];
  readonly devices: readonly WrittenPart[];
}

/** By the enum of 13.2; a real save shows all but 4 (memory, never listed). */
export const structNumbers: Readonly<Record<string, number>> = { vhpet: 5, vm: 2, vmx: 0, vioapic: 1, vlapic: 3, vmcx: 6, vatpit: 8, vatpic: 7, vpmtmr: 9, vrtc: 10 };

const indent = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`);
const joined = (blocks: readonly (readonly string[])[]): string[] => blocks.flatMap((block, index) => (index === blocks.length - 1 ? [...block] : [...block.slice(0, -1), `${block.at(-1)},`]));
const object = (members: readonly (readonly string[])[]): string[] => ['{', ...indent(joined(members)), '}'];
const keyed = (key: string, block: readonly string[]): string[] => [`${JSON.stringify(key)}: ${block[0]}`, ...block.slice(1)];
const list = (items: readonly (readonly string[])[]): string[] => ['[', ...indent(joined(items)), ']'];

const basic = (save: { vcpus: number; guestName: string; memoryBytes: bigint }, more: string[][] = []): string[] => keyed('basic metadata', object([
  [`"ncpus": ${save.vcpus}`], [`"vmname": ${JSON.stringify(save.guestName)}`], [`"memsize": ${save.memoryBytes}`], ['"memflags": 0'], ...more,
]));

/** FILE.meta of a stock bhyve. */
export function renderSaveMeta(save: WrittenSave): string {
  const isOld = save.family === 'structs';
  let offset = 0n;
  const part = ({ name, bytes }: WrittenPart, kind: 'kernel' | 'devices', index: number): string[] => {
    const named = !isOld ? [`"device": "${name}"`] : kind === 'devices' ? [`"snapshot_req": "${name}"`] : [`"debug_name": "${name}"`, `"snapshot_req": ${structNumbers[name] ?? 100 + index}`];
    const block = object([...named, `"size": ${bytes}`, `"file_offset": ${offset}`].map((line) => [line]));
    offset += bytes;
    return block;
  };
  const kernel = list(save.kernel.map((one, index) => part(one, 'kernel', index)));
  const devices = list(save.devices.map((one, index) => part(one, 'devices', index)));
  return `${object([basic(save), keyed(isOld ? 'structs' : 'kern_structs', kernel), keyed('devices', devices)]).join('\n')}\n`;
}

/** FILE.meta of FreeBSD-UPB's JSON. `state` as in SaveMeta; 64-bit numbers as hex (the wiki's sample) or decimal (a revision of the branch). */
export function renderUpbMeta(save: { vcpus: number; guestName: string; memoryBytes: bigint; state: StateNode }, wide: 'hex' | 'decimal' = 'hex'): string {
  const entries = (kind: 'kernel' | 'devices'): string[] => list([...membersOf(membersOf(save.state).get(kind)!)].map(([name, node]) => object([
    [`"${kind === 'kernel' ? 'debug_name' : 'snapshot_req'}": "${name.replace(/#\d+$/, '')}"`], keyed('device_params', group(node, wide)),
  ])));
  return `${object([basic(save, [['"version": 2']]), keyed('structs', entries('kernel')), keyed('devices', entries('devices'))]).join('\n')}\n`;
}

const membersOf = (node: StateNode): ReadonlyMap<string, StateNode> => (node.kind === 'group' ? node.members : new Map<string, StateNode>());

function group(node: StateNode, wide: 'hex' | 'decimal'): string[] {
  return list([object([...membersOf(node)].map(([name, child]) => {
    switch (child.kind) {
      case 'group': return keyed(name, group(child, wide));
      case 'bytes': return [`"${name}$b64": "${child.base64}"`];
      case 'integer': {
        const text = child.type.endsWith('64') && wide === 'hex' ? `"${BigInt.asUintN(64, child.value).toString(16)}"` : String(child.value);
        return [`"${name}$${child.type}": ${text}`];
      }
    }
  }))]);
}
