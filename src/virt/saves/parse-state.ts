/**
 * Members of upb-json. A name ends in its type: `exc_vector$int32`. Integers of up to 32 bits are numbers; those of 64 bits are strings of hex digits without
 * 0x (so the sample of the FreeBSD-UPB wiki, where `nextrip` and the rip inside `exitinfo` agree) or, in one revision of the branch, decimal numbers.
 * `b64` is base64 of the raw bytes. What is nested is a list of, as a rule, one object.
 */
import { damaged } from './damaged.js';
import type { ExactJson } from './exact-json.js';
import { asList, asObject, type JsonObject } from './members.js';
import type { IntegerType, StateNode } from './types.js';

const memberName = /^[\x21-\x23\x25-\x2d\x2f-\x7e]+$/; // visible; no `$`, and no `.`, which parts paths
const integerTypes: Readonly<Record<string, IntegerType>> = {
  int8: 'int8', int16: 'int16', int32: 'int32', int64: 'int64', uint8: 'uint8', uint16: 'uint16', uint32: 'uint32', uint64: 'uint64',
};

/** The tree below one `device_params`, which is at `path` in the file. AgentError `save-damaged` with the path of a member that is not as above. */
export function parseState(value: ExactJson, path: string): StateNode {
  const items = asList(value, path);
  if (items.length === 1) return parseGroup(asObject(items[0]!, `${path}[0]`), `${path}[0]`);
  return { kind: 'group', members: new Map(items.map((item, index) => [`[${index}]`, parseGroup(asObject(item, `${path}[${index}]`), `${path}[${index}]`)])) };
}

function parseGroup(object: JsonObject, path: string): StateNode {
  const members = new Map<string, StateNode>();
  for (const [key, value] of object) {
    const [name, type, ...rest] = key.split('$');
    if (name === undefined || !memberName.test(name) || rest.length > 0) throw damaged(path, 'has a member whose name is no name');
    const where = `${path}.${type === undefined || memberName.test(type) ? key : name}`;
    if (members.has(name)) throw damaged(where, 'is there twice, with different types');
    members.set(name, type === undefined ? parseState(value, where) : parseTyped(value, type, where));
  }
  return { kind: 'group', members };
}

function parseTyped(value: ExactJson, type: string, path: string): StateNode {
  if (type === 'b64') return { kind: 'bytes', ...parseBase64(value, path) };
  const known = Object.hasOwn(integerTypes, type) ? integerTypes[type] : undefined;
  if (known === undefined) throw damaged(path, 'has a type that is not known');
  return { kind: 'integer', type: known, value: parseInteger(value, known, path) };
}

function parseInteger(value: ExactJson, type: IntegerType, path: string): bigint {
  const bits = Number(type.replace(/\D/g, ''));
  const isSigned = type.startsWith('int');
  if (bits === 64 && typeof value === 'string') {
    if (!/^[0-9a-fA-F]{1,16}$/.test(value)) throw damaged(path, 'is not a hex number of 64 bits');
    return isSigned ? BigInt.asIntN(64, BigInt(`0x${value}`)) : BigInt(`0x${value}`);
  }
  if (typeof value !== 'bigint') throw damaged(path, `is not ${bits === 64 ? 'a number or a string of hex digits' : 'a number'}`);
  if ((isSigned ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value)) !== value) throw damaged(path, `does not fit ${type}`);
  return value;
}

/** Standard base64 with its padding, and no bit set that the padding cuts off. Looked at without a pattern that loops: a screen has many MiB. */
function parseBase64(value: ExactJson, path: string): { base64: string; bytes: number } {
  if (typeof value !== 'string') throw damaged(path, 'is not a string of base64');
  const padding = value.endsWith('==') ? 2 : value.endsWith('=') ? 1 : 0;
  const stray = value.search(/[^A-Za-z0-9+/]/);
  const isWhole = value.length % 4 === 0 && (stray === -1 ? padding === 0 : stray === value.length - padding);
  const last = value.slice(-4);
  if (!isWhole || Buffer.from(last, 'base64').toString('base64') !== last) throw damaged(path, 'is not base64');
  return { base64: value, bytes: (value.length / 4) * 3 - padding };
}
