/**
 * Says what a downloaded image is before any converter sees it, and refuses all that is not plainly harmless. Images are written by
 * tenants: a converter that follows a name in one of them reads the host's files for the tenant (nova-contract section 16).
 *
 *   signatures at the start ─► exactly one format? ─► the one that Glance names? ─► the format's own inspector ─► size and format
 *
 * Throws AgentError `image-unacceptable` with a sentence for the owner of the image; never accepts on doubt. Reads a few
 * KiB here and there, at most 1 MiB at once, whatever the image says.
 */
import { inspectQcow2 } from './qcow2.js';
import { refuse, require, type ImageReader } from './reader.js';
import { HEAD_BYTES, signaturesOf, type ContainerFormat, type Signatures } from './signatures.js';
import { inspectVdi } from './vdi.js';
import { hasVhdFooter, inspectVhd } from './vhd.js';
import { inspectVmdk } from './vmdk.js';

export type RawFormat = 'raw' | 'gpt' | 'mbr' | 'iso';
export type ConvertedFormat = 'qcow2' | 'vmdk' | 'vdi' | 'vhd';

export interface Inspection {
  readonly format: RawFormat | ConvertedFormat;
  /** What the disk will hold. */
  readonly virtualBytes: bigint;
  /** Other sizes that the image may stand for, where its format is ambiguous (vhd). */
  readonly otherBytes: readonly bigint[];
  /** Name for `qemu-img -f`; undefined if the octets are the disk. */
  readonly converterFormat: 'qcow2' | 'vmdk' | 'vdi' | 'vpc' | undefined;
}

/** No disk that we make is larger; ZFS itself would allow more. */
const MAX_VIRTUAL_BYTES = 1n << 50n;

/** Formats that Glance may name, and what an image of that name may turn out to be. */
const accepted: Readonly<Record<string, readonly Inspection['format'][]>> = {
  raw: ['raw', 'gpt', 'mbr'],
  gpt: ['gpt', 'mbr'],
  iso: ['iso'],
  qcow2: ['qcow2'],
  vmdk: ['vmdk'],
  vdi: ['vdi'],
  vhd: ['vhd'],
  ami: ['raw', 'gpt', 'mbr', 'iso', 'qcow2', 'vmdk', 'vdi', 'vhd'],
  aki: ['raw', 'gpt', 'mbr', 'iso', 'qcow2', 'vmdk', 'vdi', 'vhd'],
  ari: ['raw', 'gpt', 'mbr', 'iso', 'qcow2', 'vmdk', 'vdi', 'vhd'],
};

const unsupported: Readonly<Partial<Record<ContainerFormat, string>>> = {
  qcow: 'qcow version 1 is not supported; convert the image to qcow2',
  'vmdk-cowd': 'this kind of vmdk is not supported; convert the image to qcow2',
  'vmdk-descriptor': 'the vmdk image is a descriptor that names other files',
  vhdx: 'vhdx is not supported; convert the image to qcow2 or vhd',
  qed: 'qed is not supported; convert the image to qcow2',
  luks: 'encrypted images are not supported',
};

export async function inspectImage(reader: ImageReader, diskFormat: string | null): Promise<Inspection> {
  const allowed = diskFormat === null || !Object.hasOwn(accepted, diskFormat) ? undefined : accepted[diskFormat];
  require(allowed !== undefined, 'the disk format of the image is not supported');
  require(reader.sizeBytes > 0n, 'the image is empty');
  const format = await detect(reader, diskFormat);
  require(allowed.includes(format), 'the content of the image does not match its disk format');
  const inspection = await inspectFormat(reader, format);
  require(inspection.virtualBytes <= MAX_VIRTUAL_BYTES, 'the image has an impossible size');
  return inspection;
}

async function detect(reader: ImageReader, diskFormat: string | null): Promise<Inspection['format']> {
  const format = single(signaturesOf(await reader.read(0n, HEAD_BYTES)));
  // A fixed VHD is a raw disk with a footer; for a raw image those last octets are the tenant's business.
  const isFixedVhd = diskFormat === 'vhd' && isRaw(format) && (await hasVhdFooter(reader));
  return isFixedVhd ? 'vhd' : format;
}

/** The one format that the signatures agree on. */
function single({ containers, layouts }: Signatures): Inspection['format'] {
  const [container, ...others] = containers;
  if (container === undefined) return layouts.includes('iso') ? 'iso' : layouts.includes('gpt') ? 'gpt' : layouts.includes('mbr') ? 'mbr' : 'raw';
  require(others.length === 0 && layouts.length === 0, 'the image looks like several formats at once');
  if (!isSupported(container)) return refuse(unsupported[container] ?? 'the format of the image is not supported');
  return container;
}

const isSupported = (container: ContainerFormat): container is ConvertedFormat => ['qcow2', 'vmdk', 'vdi', 'vhd'].includes(container);
const isRaw = (format: Inspection['format']): format is RawFormat => ['raw', 'gpt', 'mbr', 'iso'].includes(format);

async function inspectFormat(reader: ImageReader, format: Inspection['format']): Promise<Inspection> {
  switch (format) {
    case 'qcow2':
      return { format, virtualBytes: await inspectQcow2(reader), otherBytes: [], converterFormat: 'qcow2' };
    case 'vmdk':
      return { format, virtualBytes: await inspectVmdk(reader), otherBytes: [], converterFormat: 'vmdk' };
    case 'vdi':
      return { format, virtualBytes: await inspectVdi(reader), otherBytes: [], converterFormat: 'vdi' };
    case 'vhd':
      return { format, ...(await inspectVhd(reader)), converterFormat: 'vpc' };
    case 'raw':
    case 'gpt':
    case 'mbr':
    case 'iso':
      return { format, virtualBytes: reader.sizeBytes, otherBytes: [], converterFormat: undefined };
  }
}
