/** The files of one guest's folder, `STATE/instances/UUID`, and how the agent reads them. Names are fixed; the supervisor uses the same. */
import type { Host } from '../../host/index.js';
import { isUuid, parseInstanceUuid, type InstanceUuid } from '../../lib/ids.js';
import { sideBySide } from '../../lib/side-by-side.js';
import { parseSpec, renderSpec, type MachineSpec } from './machine-spec.js';
import { parseStatus, parseVerdict, renderVerdict, type StoredVerdict, type SupervisorStatus } from './verdict.js';

/** How many guests are looked at side by side where all are: there are a few threads for files, and a disk is better at several things than at one. */
export const filesAtOnce = 8;

const consoleTailBytes = 102_400;
const lastWordsBytes = 4096;

export interface GuestPaths {
  readonly folder: string;
  readonly spec: string;
  readonly config: string;
  readonly variableStore: string;
  /** The variables of a rescued guest, gone with the rescue. */
  readonly rescueVariableStore: string;
  readonly supervisor: string;
  readonly status: string;
  readonly verdict: string;
  readonly lock: string;
  /** Present while the agent wants the guest to end: the supervisor does not restart it. */
  readonly stopMarker: string;
  /** Present while the guest is being saved: an end with 0, which says "rebooted" otherwise, is the end of the save. */
  readonly suspendMarker: string;
  /** Names the save that the next start restores; the supervisor takes it away before it does, so that a reboot starts cold. */
  readonly restore: string;
  /** The save of a suspended guest: a folder, complete whenever it is there. */
  readonly save: string;
  /** The same while it is made. */
  readonly partialSave: string;
  /** A folder for each node of the checkpoint tree that has more than disks (kept-checkpoints.ts). */
  readonly checkpoints: string;
  /** Rules of rctl(8) for the supervisor; absent for a guest without limits. */
  readonly limits: string;
  readonly consoleLog: string;
  readonly bhyveLog: string;
}

export interface GuestFiles {
  /** Parent of all guests' folders. */
  readonly root: string;
  /** Where supervisors leave a file named after the guest whenever something happened to it. */
  readonly events: string;
  /** What checkpoints that leave this host are sealed with (carry-checkpoint.ts). */
  readonly sealKey: string;
  paths(instance: InstanceUuid): GuestPaths;
  /** Every instance that has a folder, also one without an instance.json. */
  folders(): Promise<InstanceUuid[]>;
  /** Every instance that has a folder with an instance.json. */
  list(): Promise<InstanceUuid[]>;
  /** Whether the instance has an instance.json, whatever it says. */
  isDefined(instance: InstanceUuid): Promise<boolean>;
  readSpec(instance: InstanceUuid): Promise<MachineSpec | undefined>;
  writeSpec(spec: MachineSpec): Promise<void>;
  readStatus(instance: InstanceUuid): Promise<SupervisorStatus | undefined>;
  readVerdict(instance: InstanceUuid): Promise<StoredVerdict | undefined>;
  writeVerdict(instance: InstanceUuid, verdict: StoredVerdict): Promise<void>;
  /** Removes files of the folder that may or may not be there. */
  forget(instance: InstanceUuid, names: readonly (keyof GuestPaths)[]): Promise<void>;
  /** What bhyve printed last, for an error message: at most five lines. */
  lastWords(instance: InstanceUuid): Promise<string>;
  /** End of com1's log; undefined if the guest never had one. */
  consoleTail(instance: InstanceUuid, lines: number | null): Promise<string | undefined>;
}

export function createGuestFiles(host: Host, statePath: string): GuestFiles {
  const root = `${statePath}/instances`;
  const { files } = host;
  const paths = (instance: InstanceUuid): GuestPaths => {
    const folder = `${root}/${instance}`;
    return {
      folder, spec: `${folder}/instance.json`, config: `${folder}/bhyve.conf`, variableStore: `${folder}/nvram.fd`,
      rescueVariableStore: `${folder}/nvram-rescue.fd`, supervisor: `${folder}/supervisor.sh`,
      status: `${folder}/status`, verdict: `${folder}/verdict`, lock: `${folder}/supervisor.lock`, stopMarker: `${folder}/stop`,
      suspendMarker: `${folder}/suspending`, restore: `${folder}/restore`, save: `${folder}/suspended`, partialSave: `${folder}/suspended.partial`,
      checkpoints: `${folder}/checkpoints`,
      limits: `${folder}/limits`, consoleLog: `${folder}/console.log`, bhyveLog: `${folder}/bhyve.log`,
    };
  };
  const readWith = async <T>(path: string, parse: (text: string) => T): Promise<T | undefined> => {
    const text = await files.readText(path);
    return text === undefined ? undefined : parse(text);
  };
  const folders = async (): Promise<InstanceUuid[]> => (await files.list(root)).filter(isUuid).map(parseInstanceUuid);
  const isDefined = (instance: InstanceUuid): Promise<boolean> => files.exists(paths(instance).spec);
  return {
    root,
    events: `${statePath}/events`,
    sealKey: `${statePath}/checkpoint.key`,
    paths,
    folders,
    async list() {
      const present = await folders();
      const areDefined = await sideBySide(present, filesAtOnce, isDefined);
      return present.filter((_instance, index) => areDefined[index]);
    },
    isDefined,
    readSpec: (instance) => readWith(paths(instance).spec, (text) => parseSpec(instance, text)),
    writeSpec: (spec) => files.writeAtomic(paths(spec.definition.instance).spec, renderSpec(spec)),
    readStatus: (instance) => readWith(paths(instance).status, parseStatus),
    readVerdict: (instance) => readWith(paths(instance).verdict, parseVerdict),
    writeVerdict: (instance, verdict) => files.writeAtomic(paths(instance).verdict, renderVerdict(verdict)),
    async forget(instance, names) {
      await Promise.all(names.map((name) => files.remove(paths(instance)[name], root)));
    },
    async lastWords(instance) {
      const tail = await files.readTail(paths(instance).bhyveLog, lastWordsBytes);
      if (tail === undefined) return '';
      return decode(tail).split('\n').map((line) => line.trim()).filter((line) => line !== '').slice(-5).join('; ');
    },
    consoleTail: (instance, lines) => consoleTail(host, paths(instance).consoleLog, lines),
  };
}

/** Guests print what they like: bytes that are not UTF-8 become U+FFFD. */
const decode = (bytes: Uint8Array): string => new TextDecoder('utf-8').decode(bytes);

/** The newest 100 KiB at most, as Nova's libvirt driver gives; looks into the rotated log too when the current one is short. */
async function consoleTail({ files }: Host, path: string, lines: number | null): Promise<string | undefined> {
  const current = await files.readTail(path, consoleTailBytes);
  const missing = consoleTailBytes - (current?.length ?? 0);
  const older = missing > 0 ? await files.readTail(`${path}.1`, missing) : undefined;
  if (current === undefined && older === undefined) return undefined;
  const text = decode(new Uint8Array([...(older ?? []), ...(current ?? [])]));
  if (lines === null) return text;
  if (lines <= 0) return '';
  // What follows the last line end counts as a line, also when it is empty: so counts Nova, and clients count the answer in the same way.
  return text.split('\n').slice(-lines).join('\n');
}
