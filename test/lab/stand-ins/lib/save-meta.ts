/**
 * `.meta` of a saved guest as libxo prints it (two blanks a level, keys in this order): bhyve-13.2's text is reproduced to the octet from the same
 * values. UPB's typed JSON names members `field$type`, has 64-bit values as hexadecimal text and buffers as base64.
 */
import type { SaveFacts } from './profiles.js';
import { type SaveEntry } from './save-layout.js';

export interface SavedGuest {
  readonly name: string;
  readonly cpus: number;
  readonly bytes: number;
  /** As `vm_get_memflags` has them. */
  readonly flags: number;
}

type Json = { readonly [name: string]: string | number | Json | readonly Json[] };

/** `extra` of an entry are octets that the lab keeps behind the ones that bhyve would write. */
export type MetaEntry = SaveEntry & { readonly extra?: Buffer };

const KEY: Readonly<Record<SaveFacts['family'], { readonly kernel: string; readonly kernelName: string; readonly device: string }>> = {
  structs: { kernel: 'structs', kernelName: 'debug_name', device: 'snapshot_req' },
  'kern-structs': { kernel: 'kern_structs', kernelName: 'device', device: 'device' },
  'upb-json': { kernel: 'structs', kernelName: 'debug_name', device: 'snapshot_req' },
};

/** The whole text; the last entry with an errno is where the save failed, and the text ends before it. */
export function metaText(save: SaveFacts, guest: SavedGuest, kernel: readonly MetaEntry[], devices: readonly MetaEntry[]): string {
  const key = KEY[save.family];
  const isTyped = save.family === 'upb-json';
  let offset = 0;
  const place = (entry: MetaEntry): Json => {
    if (isTyped) return { device_params: [typedParams(entry, guest.cpus)] };
    const bytes = entry.bytes + (entry.extra?.length ?? 0);
    const placed = { size: bytes, file_offset: offset };
    offset += bytes;
    return placed;
  };
  const hasFailed = devices.at(-1)?.errno !== undefined;
  const document: Json = {
    'basic metadata': { ncpus: guest.cpus, vmname: guest.name, memsize: guest.bytes, memflags: guest.flags, ...(isTyped ? { version: 2 } : {}) },
    [key.kernel]: kernel.map((entry) => ({ [key.kernelName]: entry.name, ...(save.family === 'structs' ? { snapshot_req: entry.request! } : {}), ...place(entry) })),
    devices: devices.filter(({ errno }) => errno === undefined).map((entry) => ({ [key.device]: entry.name, ...place(entry) })),
  };
  const text = `${JSON.stringify(document, null, 2)}\n`;
  // libxo had not closed the list when bhyve gave up.
  return hasFailed ? text.replace(/\n? *\]\n\}\n$/, '') : text;
}

const zeros = (bytes: number): string => Buffer.alloc(bytes).toString('base64');

/** A vCPU stopped for a checkpoint: `struct vm_exit` begins with exit code 21, length 0, instruction pointer. */
function vcpu(): Json {
  const exit = Buffer.alloc(136);
  exit.writeUInt32LE(21, 0);
  exit.writeBigUInt64LE(0xffffffff81085d96n, 8);
  return {
    x2apic_state$uint32: 0, exitintinfo$uint64: '0', exc_vector$int32: 0, exc_errcode_valid$int32: 0, exc_errcode$uint32: 0, guest_xcr0$uint64: '7', exitinfo$b64: exit.toString('base64'),
    nextrip$uint64: 'ffffffff81085d96', tsc_offset$uint64: '15063e03a9f0',
  };
}

const indexed = (name: string, count: number, of: (index: number) => Json): Json => ({ [name]: [Object.fromEntries(Array.from({ length: count }, (_, index) => [`${name}@${index}`, [of(index)]]))] });

/** Members of one entry. Shapes are those of UPB's sample; the values are made up. */
function typedParams(entry: MetaEntry, cpus: number): Json {
  if (entry.name === 'vm') return indexed('vcpus', cpus, vcpu);
  if (entry.name === 'vhpet') return { config$uint64: '0', isr$uint64: '0', countbase$uint32: 0, ...indexed('timers', 8, () => ({ cap_config$uint64: 'ff00000000008010', msireg$uint64: '0', compval$uint32: 4294967295, comprate$uint32: 0 })) };
  if (entry.bytes === 0) return {};
  const engine = entry.extra === undefined ? {} : { engine$b64: entry.extra.toString('base64') };
  if (entry.name.startsWith('virtio-')) {
    const queues = entry.name === 'virtio-net' ? 2 : 1;
    return { pi_cfgdata$b64: zeros(256), vs_flags$int32: 0, vs_negotiated_caps$uint64: '110000000', vs_status$uint8: 15, ...indexed('vq', queues, () => ({ vq_qsize$uint16: 1024, vq_last_avail$uint16: 0, vq_save_used$uint16: 0 })) };
  }
  return { state$b64: zeros(Math.min(entry.bytes, 4096)), ...engine };
}
