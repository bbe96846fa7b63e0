/** Kernel modules of the node: files that are loaded, and what is in the kernel itself. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readState, type StandInNode, writeState } from './lab-node.js';

export interface LoadedFile { readonly id: number; readonly name: string }

interface Known { readonly size: string; readonly address: string; readonly modules: readonly string[] }

/** Files that this host's /boot/kernel has. */
const known: Readonly<Record<string, Known>> = {
  cryptodev: { address: 'ffffffff80f9c000', size: '6e88', modules: ['cryptodev'] }, nmdm: { address: 'ffffffff81718000', size: '21cc', modules: ['nmdm'] },
  zfs: { address: 'ffffffff81e00000', size: '3aae30', modules: ['zfs', 'zfsctrl', 'zfs_zvol', 'zfs_vdev'] }, if_bridge: { address: 'ffffffff8171b000', size: '7638', modules: ['if_bridge'] },
  bridgestp: { address: 'ffffffff81723000', size: '50d8', modules: ['bridgestp'] }, if_vxlan: { address: 'ffffffff81729000', size: '62e8', modules: ['if_vxlan'] },
  if_epair: { address: 'ffffffff81730000', size: '3a64', modules: ['if_epair'] }, vmm: { address: 'ffffffff81800000', size: '53e0a8', modules: ['vmm', 'pci/ppt', 'pci/amdiommu', 'acpi/ivhd'] },
  fusefs: { address: 'ffffffff81734000', size: 'e0b0', modules: ['fusefs'] },
};
const inKernel = ['kernel', 'if_tuntap', 'if_vlan'];
const atBoot: readonly LoadedFile[] = ['kernel', 'cryptodev.ko', 'zfs.ko', 'if_bridge.ko', 'bridgestp.ko'].map((name, index) => ({ id: index + 1, name }));

export const loadedFiles = (node: StandInNode): readonly LoadedFile[] => readState(node, 'modules.json', atBoot);
const stem = (name: string): string => name.replace(/^.*\//, '').replace(/\.ko$/, '');

/** Module `name` is there, from a file or in the kernel. */
export function isLoaded(node: StandInNode, name: string): boolean {
  return inKernel.includes(name) || loadedFiles(node).some((file) => stem(file.name) === name || known[stem(file.name)]?.modules.includes(name) === true);
}

export const isKnown = (name: string): boolean => known[stem(name)] !== undefined || inKernel.includes(stem(name));

/** To be called under the lock `modules`. vmm of 15 brings its control device. */
export function load(node: StandInNode, name: string): void {
  const files = loadedFiles(node);
  writeState(node, 'modules.json', [...files, { id: Math.max(...files.map((file) => file.id)) + 1, name: `${stem(name)}.ko` }]);
  if (stem(name) === 'vmm' && node.facts.hasVmmctl) writeFileSync(join(node.dev, 'vmmctl'), '', { mode: 0o600 });
}

export function unload(node: StandInNode, name: string): boolean {
  const files = loadedFiles(node);
  const rest = files.filter((file) => stem(file.name) !== stem(name));
  if (rest.length === files.length) return false;
  writeState(node, 'modules.json', rest);
  if (stem(name) === 'vmm') rmSync(join(node.dev, 'vmmctl'), { force: true });
  return true;
}

/** One line of kldstat. */
export function fileLine(file: LoadedFile): string {
  const { address, size } = known[stem(file.name)] ?? { address: 'ffffffff80200000', size: 'd9b518' };
  return `${String(file.id).padStart(2)} ${String(file.name === 'kernel' ? 24 : 1).padStart(4)} 0x${address} ${size.padStart(8)} ${file.name}\n`;
}

export const moduleId = (name: string): number => 185 + [...name].reduce((sum, letter) => sum + letter.charCodeAt(0), 0) % 80;
