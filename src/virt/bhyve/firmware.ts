/**
 * Firmware images on the host and the variable store of a guest. amd64: edk2-bhyve's CODE and VARS pair; the guest writes to its own copy of
 * VARS, which therefore belongs to the guest like a disk. arm64: U-Boot, which keeps no variables (bhyve-facts 2.6).
 */
import type { Host } from '../../host/index.js';
import type { HostCapabilities } from '../types.js';

export type Firmware = NonNullable<HostCapabilities['firmware']>;

/** Where the packages edk2-bhyve (and its compatibility links) and u-boot-bhyve-arm64 put their files. */
export const defaultFirmwareDirs = ['/usr/local/share/edk2-bhyve', '/usr/local/share/uefi-firmware', '/usr/local/share/u-boot'] as const;

const candidates: Readonly<Record<HostCapabilities['architecture'], readonly { code: string; vars: string | null }[]>> = {
  amd64: [{ code: 'BHYVE_UEFI_CODE.fd', vars: 'BHYVE_UEFI_VARS.fd' }, { code: 'BHYVE_UEFI.fd', vars: null }],
  arm64: [{ code: 'u-boot-bhyve-arm64/u-boot.bin', vars: null }, { code: 'u-boot.bin', vars: null }],
};

/** The first complete firmware in the folders, in their order; null if there is none. */
export async function findFirmware(
  files: Pick<Host['files'], 'exists'>, architecture: HostCapabilities['architecture'], dirs: readonly string[],
): Promise<Firmware | null> {
  for (const { code, vars } of candidates[architecture]) {
    for (const dir of dirs) {
      const found = { code: `${dir}/${code}`, vars: vars === null ? null : `${dir}/${vars}` };
      if ((await files.exists(found.code)) && (found.vars === null || (await files.exists(found.vars)))) return found;
    }
  }
  return null;
}

/** Gives the guest a variable store once. An interrupted copy leaves a temporary file only, never half a store. */
export async function ensureVariableStore(files: Host['files'], firmware: Firmware, store: string): Promise<void> {
  if (firmware.vars !== null && !(await files.exists(store))) await files.copy(firmware.vars, store, 0o600);
}
