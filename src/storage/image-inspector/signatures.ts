/**
 * What an image's first octets say it is. Every signature is looked for, so that a file that is two things at once is seen as
 * such; which combinations are harmless is decided in inspect.ts.
 */

/** A container format: the octets are not the disk itself. */
export type ContainerFormat =
  | 'qcow' | 'qcow2' | 'vmdk' | 'vmdk-cowd' | 'vmdk-descriptor' | 'vdi' | 'vhd' | 'vhdx' | 'qed' | 'luks' | 'parallels' | 'bochs' | 'cloop';
/** The octets are the disk; what lies on it. */
export type DiskLayout = 'gpt' | 'mbr' | 'iso';

export interface Signatures {
  readonly containers: readonly ContainerFormat[];
  readonly layouts: readonly DiskLayout[];
}

/** Octets at the start of an image that hold every signature. */
export const HEAD_BYTES = 36 * 1024;
const VDI_SIGNATURE = 0xbeda107f;
const ISO_DESCRIPTOR = 0x8000;
const DESCRIPTOR_TEXT_BYTES = 20 * 1024;

const magics: readonly (readonly [ContainerFormat, string])[] = [
  ['vmdk', 'KDMV'], ['vmdk-cowd', 'COWD'], ['vhd', 'conectix'], ['vhdx', 'vhdxfile'], ['qed', 'QED\0'], ['luks', 'LUKS\xba\xbe'],
  ['luks', 'SKUL\xba\xbe'], ['parallels', 'WithoutFreeSpace'], ['parallels', 'WithouFreSpacExt'], ['bochs', 'Bochs Virtual HD Image'],
  ['cloop', '#!/bin/sh\n#V2.0 Format\nmodprobe cloop'],
];

export function signaturesOf(head: Buffer): Signatures {
  return { containers: containersOf(head), layouts: layoutsOf(head) };
}

const has = (head: Buffer, offset: number, text: string): boolean =>
  head.length >= offset + text.length && head.toString('latin1', offset, offset + text.length) === text;

function containersOf(head: Buffer): ContainerFormat[] {
  const found = magics.filter(([, magic]) => has(head, 0, magic)).map(([format]) => format);
  if (has(head, 0, 'QFI\xfb') && head.length >= 8) found.push(head.readUInt32BE(4) === 1 ? 'qcow' : 'qcow2');
  if (head.length >= 68 && head.readUInt32LE(64) === VDI_SIGNATURE) found.push('vdi');
  if (isVmdkDescriptor(head)) found.push('vmdk-descriptor');
  return found;
}

/** A text that names the files which hold the disk; converters also take one that starts with comments or empty lines. */
function isVmdkDescriptor(head: Buffer): boolean {
  const text = head.toString('latin1', 0, DESCRIPTOR_TEXT_BYTES);
  if (/^\s*# Disk DescriptorFile/i.test(text)) return true;
  const firstLine = text.split(/\r?\n/).find((line) => line.trim() !== '' && !line.startsWith('#'));
  return firstLine !== undefined && /^\s*version\s*=\s*\d/i.test(firstLine);
}

function layoutsOf(head: Buffer): DiskLayout[] {
  const found: DiskLayout[] = [];
  if (has(head, 512, 'EFI PART') || has(head, 4096, 'EFI PART')) found.push('gpt');
  if (has(head, ISO_DESCRIPTOR + 1, 'CD001')) found.push('iso');
  if (isPartitionTable(head)) found.push('mbr');
  return found;
}

/** The boot signature also stands in boot sectors of file systems: the four entries must look like entries, one of them used. */
function isPartitionTable(head: Buffer): boolean {
  if (head.length < 512 || head.readUInt16LE(510) !== 0xaa55) return false;
  const entries = [446, 462, 478, 494].map((offset) => ({ flag: head[offset]!, type: head[offset + 4]! }));
  return entries.every(({ flag }) => flag === 0 || flag === 0x80) && entries.some(({ type }) => type !== 0);
}
