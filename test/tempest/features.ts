/**
 * Tempest's [compute-feature-enabled], told from what the agent says of itself: a feature is on when every RPC method that it needs works. So a flag
 * turns over by itself when an operation is finished, and nobody can forget it.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { agentProgram } from '../cloud/support/agent.js';

export interface Method {
  readonly method: string;
  readonly status: 'works' | 'refused' | 'needs-host-feature';
}

/** What each flag needs of a compute host. */
const needs: Readonly<Record<string, readonly string[]>> = {
  change_password: ['set_admin_password'],
  console_output: ['get_console_output'],
  resize: ['prep_resize', 'resize_instance', 'finish_resize', 'confirm_resize', 'revert_resize', 'finish_revert_resize'],
  pause: ['pause_instance', 'unpause_instance'],
  shelve: ['shelve_instance', 'shelve_offload_instance', 'unshelve_instance'],
  suspend: ['suspend_instance', 'resume_instance'],
  vnc_console: ['get_vnc_console'],
  serial_console: ['get_serial_console'],
  spice_console: ['get_spice_console'],
  rescue: ['rescue_instance', 'unrescue_instance'],
  interface_attach: ['attach_interface', 'detach_interface'],
  snapshot: ['snapshot_instance', 'backup_instance'],
  swap_volume: ['swap_volume'],
};

/** Tests that no flag of Tempest's stands for, though they use an operation that a host may refuse: Tempest takes these for given. */
const ungated: readonly { readonly needs: readonly string[]; readonly tests: RegExp }[] = [
  { needs: ['rebuild_instance'], tests: /rebuild/i },
];

export interface Features {
  readonly flags: Readonly<Record<string, boolean>>;
  /** Why a test must not be run, or null. */
  readonly without: (test: string) => string | null;
}

const works = (methods: readonly Method[], names: readonly string[]): boolean =>
  names.every((name) => methods.some(({ method, status }) => method === name && status === 'works'));

/** What a list of methods comes to. Moves between hosts need a second one, which this lab has not. */
export function featuresOf(methods: readonly Method[]): Features {
  const missing = ungated.filter((entry) => !works(methods, entry.needs));
  return {
    flags: Object.fromEntries(Object.entries(needs).map(([flag, names]) => [flag, works(methods, names)])),
    without: (test) => {
      const entry = missing.find(({ tests }) => tests.test(test));
      return entry === undefined ? null : `the agent does not do ${entry.needs.join(', ')}`;
    },
  };
}

/** Asks the built agent. */
export async function askAgent(): Promise<Method[]> {
  const { stdout } = await promisify(execFile)(process.execPath, [agentProgram, 'methods', '--json'], { encoding: 'utf8' });
  return JSON.parse(stdout) as Method[];
}
