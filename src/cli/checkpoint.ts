/** `nova-bhyve checkpoint show` and `diff`: what is in a save, and in what two differ, from their descriptions (FILE.meta). They need neither configuration nor agent. */
import { resolve } from 'node:path';
import { createFiles } from '../host/index.js';
import { AgentError } from '../lib/errors.js';
import { describeSave, diffSaves, maxMetaBytes, parseSaveMeta, type SaveChange, type SaveDescription, type SaveFamily, type SaveMeta } from '../virt/index.js';
import type { CheckpointNode } from '../storage/index.js';
import { renderFields, renderJson, renderTable, type Output } from './output.js';

const familyWords: Readonly<Record<SaveFamily, string>> = {
  structs: 'structs (as FreeBSD 13 writes it)', 'kern-structs': 'kern-structs (as FreeBSD 15 writes it)', 'upb-json': 'upb-json (FreeBSD-UPB, readable state)',
};

/** Errors of reading and parsing say which of the files it is. */
async function readMeta(file: string): Promise<SaveMeta> {
  try {
    const text = await createFiles().readText(resolve(file), maxMetaBytes);
    if (text === undefined) throw new AgentError('file-failed', 'there is no such file');
    return parseSaveMeta(text);
  } catch (error) {
    if (error instanceof AgentError) throw new AgentError(error.code, file, { cause: error });
    throw error;
  }
}

/** 64-bit members are addresses and registers more often than counts. */
function inWords(type: string, value: bigint | string | null): string {
  if (value === null) return '-';
  if (type === 'uint64') return `0x${value.toString(16)}`;
  return type === 'b64' || type === 'bytes' ? `${value} bytes` : String(value);
}

function renderDescription(save: SaveDescription): string {
  const sections = [renderFields([['guest', save.guestName], ['vCPUs', String(save.vcpus)], ['memory', `${save.memoryBytes} bytes`], ['family', familyWords[save.family]]])];
  for (const [title, parts] of [['Kernel', save.kernel], ['Devices', save.devices]] as const) {
    sections.push(`${title}\n${renderTable(['part', 'state'], parts.map(({ name, bytes }) => [name, bytes === null ? 'below' : bytes === 0n ? '-' : `${bytes} bytes`]))}`);
  }
  if (save.members.length > 0) {
    sections.push(`State\n${renderTable(['member', 'type', 'value'], save.members.map((one) => [one.path, one.type, inWords(one.type, one.type === 'b64' ? BigInt(one.bytes) : one.value)]))}`);
  }
  return sections.join('\n');
}

/** `node`: the checkpoint whose save it is, if it is one's. Resolves with exit code 0. AgentError `save-damaged`, `file-failed`, `file-too-large`. */
export async function showCheckpoint(file: string, { json, node }: { json: boolean; node?: Pick<CheckpointNode, 'name' | 'keeper'> }, output: Output): Promise<number> {
  const description = describeSave(await readMeta(file));
  const { name, keeper } = node ?? {};
  if (json) output.out(renderJson({ ...(keeper === undefined ? {} : { checkpoint: { name, keeper } }), ...description }));
  else output.out(`${keeper === undefined ? '' : `${renderFields([['checkpoint', name ?? '-'], ['keeper', keeper]])}\n`}${renderDescription(description)}`);
  return 0;
}

function renderChange({ path, type, before, after, firstByte }: SaveChange): string[] {
  return [path, inWords(type, before), inWords(type, after), firstByte === undefined ? '' : `from byte ${firstByte} on`];
}

/** Resolves with the exit code: 1 if something differs. AgentError as above. */
export async function diffCheckpoints(before: string, after: string, options: { json: boolean }, output: Output): Promise<number> {
  const [one, other] = [await readMeta(before), await readMeta(after)];
  const changes = diffSaves(one, other);
  if (options.json) output.out(renderJson(changes));
  else {
    output.out(changes.length === 0 ? 'The descriptions do not differ.\n' : renderTable(['what', 'before', 'after', ''], changes.map(renderChange)));
    if (one.state === null || other.state === null) output.out('\nOf memory and binary state only the sizes are compared.\n');
  }
  return changes.length === 0 ? 0 : 1;
}
