/**
 * Memory of a guest as a file: QEMU has it in a memfd (see bhyve-plan.ts), which holds low memory and behind it high memory, as bhyve's RAM file
 * does. Blocks of zeros become holes, so that the file of a small guest costs the disk little; its size is exact.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SaveFaults } from './save-faults.js';

const BLOCK = 1 << 20;
const nothing = Buffer.alloc(BLOCK);
const isNothing = (data: Buffer): boolean => data.equals(nothing.subarray(0, data.length));

async function openMemory(pid: number): Promise<FileHandle> {
  const fd = readdirSync(`/proc/${pid}/fd`).find((name) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${name}`).startsWith('/memfd:memory-backend-memfd');
    } catch {
      return false; // closed in between
    }
  });
  if (fd === undefined) throw new Error('QEMU has no memfd: was this guest started on a profile that saves?');
  return open(`/proc/${pid}/fd/${fd}`, 'r+');
}

/** A disk that fills up takes a part first, and says no to the rest. */
async function writeFully(file: FileHandle, data: Buffer, at: number): Promise<void> {
  for (let done = 0; done < data.length; ) done += (await file.write(data, done, data.length - done, at + done)).bytesWritten;
}

/** Writes the memory of a stopped machine. Fails with ENOSPC when the disk is full, or as if it were. */
export async function writeMemory(pid: number, target: FileHandle, bytes: number, faults: SaveFaults): Promise<void> {
  const memory = await openMemory(pid);
  const block = faults.bytesPerSecond === undefined ? BLOCK : Math.max(4096, Math.min(BLOCK, Math.ceil(faults.bytesPerSecond / 20)));
  try {
    for (let at = 0; at < bytes; at += block) {
      const data = (await memory.read(Buffer.alloc(Math.min(block, bytes - at)), 0, Math.min(block, bytes - at), at)).buffer;
      if (faults.fullAfterBytes !== undefined && at + data.length > faults.fullAfterBytes) throw Object.assign(new Error('disk full'), { code: 'ENOSPC' });
      if (isNothing(data)) await target.truncate(at + data.length);
      else await writeFully(target, data, at);
      if (faults.killedAfterBytes !== undefined && at + data.length >= faults.killedAfterBytes) process.kill(process.pid, 'SIGKILL');
      if (faults.bytesPerSecond !== undefined) await sleep((data.length / faults.bytesPerSecond) * 1000);
    }
  } finally {
    await memory.close();
  }
}

/** Fills the memory of a machine that has not run yet. */
export async function readMemory(pid: number, source: FileHandle, bytes: number): Promise<void> {
  const memory = await openMemory(pid);
  try {
    for (let at = 0; at < bytes; at += BLOCK) {
      const length = Math.min(BLOCK, bytes - at);
      const [saved, fresh] = await Promise.all([source, memory].map(async (file) => (await file.read(Buffer.alloc(length), 0, length, at)).buffer));
      if (!saved!.equals(fresh!)) await writeFully(memory, saved!, at);
    }
  } finally {
    await memory.close();
  }
}
