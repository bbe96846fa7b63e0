/**
 * The hypervisor driver. The guest is what runs in bhyve; the instance is Nova's record. Guests outlive the agent: each has a
 * supervisor (POSIX sh under daemon(8)) that runs bhyve, restarts it on exit 0 unless told otherwise, and records the verdict.
 */
import type { CheckpointId, InstanceUuid } from '../lib/ids.js';
import type { PowerState } from '../objects/index.js';
import type { ChainGuests, CheckpointMemory, DiskBus, DiskEvidence, DiskRole } from '../storage/index.js';
import type { SaveFamily } from './saves/index.js';

export { powerStates, type PowerState } from '../objects/index.js';
export type { DiskBus } from '../storage/index.js';

export type Verdict =
  | { readonly kind: 'rebooted' | 'powered-off' | 'halted' | 'suspended'; readonly at: string }
  | { readonly kind: 'crashed'; readonly at: string; readonly exitCode: number | null; readonly signal: string | null; readonly reason: string };

export type GuestState =
  | { readonly kind: 'absent' }
  | { readonly kind: 'stopped'; readonly verdict: Verdict | null }
  | { readonly kind: 'running'; readonly pid: number; readonly startedAtSeconds: number; readonly isPaused: boolean };

export interface GuestDisk {
  /** A guest with a `rescue` disk is a rescued one: it boots from that disk (see slot-map.ts), with a variable store of its own. */
  readonly role: DiskRole;
  readonly path: string;
  readonly serial: string;
  readonly bus: DiskBus;
  /** A CD is read-only and sits on AHCI, whatever `bus` says. */
  readonly kind: 'disk' | 'cdrom';
}
export interface GuestCdrom { readonly path: string }
export type NicModel = 'virtio' | 'e1000';
export interface GuestNic { readonly port: string; readonly tapName: string; readonly mac: string; readonly mtu: number; readonly model: NicModel }

/** What the guest sees of its CPUs; the product is the number of vCPUs. */
export interface GuestTopology { readonly sockets: number; readonly cores: number; readonly threads: number }

/** What a guest's process is held to; null: no limit. */
export interface GuestLimits {
  /** Of one host CPU: 150 = one and a half. */
  readonly cpuPercent: number | null;
  readonly readBytesPerSecond: number | null;
  readonly writeBytesPerSecond: number | null;
  readonly readsPerSecond: number | null;
  readonly writesPerSecond: number | null;
}

export const noLimits: GuestLimits = { cpuPercent: null, readBytesPerSecond: null, writeBytesPerSecond: null, readsPerSecond: null, writesPerSecond: null };

/** What the instance needs; PCI slots are chosen by the driver once, stored, and never move. */
export interface GuestDefinition {
  readonly instance: InstanceUuid;
  /** For the operator: `instance-%08x`. */
  readonly name: string;
  readonly vcpus: number;
  readonly topology: GuestTopology;
  readonly memoryMiB: number;
  readonly disks: readonly GuestDisk[];
  readonly configDrive: GuestCdrom | null;
  readonly nics: readonly GuestNic[];
  /** A framebuffer with an RFB server. */
  readonly hasVnc: boolean;
  /** A USB tablet beside the framebuffer; without it the guest has a PS/2 mouse only. */
  readonly hasTablet: boolean;
  /** A virtio random number generator. */
  readonly hasRng: boolean;
  /** What the hardware clock shows. */
  readonly clock: 'utc' | 'localtime';
  readonly limits: GuestLimits;
}

export interface GuestEvent { readonly instance: InstanceUuid; readonly kind: 'stopped' | 'started' | 'rebooted'; readonly verdict: Verdict | null }

export interface StopOptions {
  /** 0 = at once. Otherwise ACPI power button, repeated each `retryMs`, then force. */
  readonly graceMs: number;
  readonly retryMs: number;
  readonly signal?: AbortSignal;
}

export interface GuestDiagnostics {
  readonly state: 'running' | 'paused' | 'shutdown' | 'crashed';
  readonly uptimeSeconds: number | null;
  readonly memoryMaximumMiB: number;
  readonly memoryUsedMiB: number | null;
  readonly cpus: readonly { readonly id: number; readonly timeNs: bigint | null }[];
  readonly nics: readonly { readonly mac: string; readonly rxOctets: number; readonly txOctets: number; readonly rxPackets: number; readonly txPackets: number; readonly rxErrors: number; readonly txErrors: number; readonly rxDrop: number; readonly txDrop: number }[];
  readonly disks: readonly { readonly role: string; readonly readBytes: number | null; readonly writeBytes: number | null }[];
}

/** What this host can do; probed at start, never assumed by version. */
export interface HostCapabilities {
  readonly architecture: 'amd64' | 'arm64';
  readonly release: string;
  /** kern.osreldate */
  readonly osReleaseDate: number;
  readonly cpuModel: string;
  readonly cpuVendor: 'Intel' | 'AMD' | 'ARM' | 'unknown';
  readonly cpuFeatures: readonly string[];
  readonly hasVmm: boolean;
  readonly canVirtualize: boolean;
  readonly maxVcpusPerGuest: number;
  readonly deviceModels: ReadonlySet<string>;
  readonly hasSnapshot: boolean;
  /**
   * What keeps bhyve from the rest of the host, asked only of a bhyve that can save guests: nothing; Capsicum, with the folder of a save handed in (`folder`) or with
   * that of the guest's first disk as the only one (`first-disk`).
   */
  readonly sandbox: 'none' | 'folder' | 'first-disk' | 'unknown';
  /** bhyve opens qcow2 disks and makes checkpoints inside and on top of them (FreeBSD-UPB's libvdsk); tried with AHCI disks only. */
  readonly hasLibvdsk: boolean;
  /** rctl(8) works: kern.racct.enable=1. */
  readonly hasResourceLimits: boolean;
  readonly hasTcpConsole: boolean;
  /** 'lpc' = lpc.bootrom (13), 'top' = bootrom (15). */
  readonly bootromKey: 'lpc' | 'top';
  readonly hasFramebuffer: boolean;
  readonly firmware: { readonly code: string; readonly vars: string | null } | null;
  /** Exit status of a suspended guest, where known. */
  readonly suspendExit: 0 | 5 | null;
  /**
   * Whether guests may be saved and restored here: only after a self-test has done it with this bhyve, kernel and processor. `models` of devices came back in
   * it, in files of `family`.
   */
  readonly saveRestore: { readonly status: 'ready' | 'untested' | 'impossible'; readonly reason: string; readonly family: SaveFamily | null; readonly models: readonly string[] };
  /** Each probe with its answer, for `nova-bhyve check`. */
  readonly findings: readonly { readonly probe: string; readonly answer: string; readonly isOk: boolean; readonly advice: string | null }[];
}

/** NVMe disks come back from a save here. A capability of its own: no release of FreeBSD has it, so only a self-test tells. */
export const canSaveNvme = ({ status, models }: HostCapabilities['saveRestore']): boolean => status === 'ready' && models.includes('nvme');

export interface HostInventory {
  readonly vcpus: number;
  readonly memoryMiB: number;
  readonly memoryUsedMiB: number;
  /** [major, minor, patch] of FreeBSD; Nova wants major·10⁶ + minor·10³ + patch. */
  readonly hypervisorVersion: number;
  readonly hypervisorHostname: string;
  /** JSON text for ComputeNode.cpu_info. */
  readonly cpuInfo: string;
  readonly supportedArchitectures: readonly ('x86_64' | 'i686' | 'aarch64')[];
  /** Traits that the hypervisor itself gives (CPU flags, buses, models, CUSTOM_BHYVE_*). */
  readonly traits: readonly string[];
}

/** One file of what is kept for a node. */
export interface KeptFile {
  readonly name: string;
  readonly bytes: bigint;
  /** From its beginning each time. */
  open(): AsyncIterable<Uint8Array>;
}

/** What a node of the checkpoint tree has besides its disks. It goes with the guest's folder (`destroy`). */
export interface KeptCheckpoints {
  /** Keeps the present save of the guest for a node as well; the memory takes its room once, however many have it. Idempotent. AgentError `save-missing`. */
  keepSave(instance: InstanceUuid, checkpoint: CheckpointId): Promise<CheckpointMemory>;
  /** Keeps the firmware's variables as they are now, if the guest has any; for a node without memory. Idempotent. */
  keepVariables(instance: InstanceUuid, checkpoint: CheckpointId): Promise<void>;
  /** Why a guest cannot go on from the node's memory here and as the machine that it is now, in a sentence without an end; null if it can. Touches nothing, reads all of it. */
  whyNoReturn(instance: InstanceUuid, checkpoint: CheckpointId, memory: CheckpointMemory, signal: AbortSignal): Promise<string | null>;
  /** Makes the node's save the guest's own, to be resumed with these disks, which are the node's. The guest is off; a save that it has goes. AgentError `save-missing`. */
  putBackSave(instance: InstanceUuid, checkpoint: CheckpointId, disks: DiskEvidence): Promise<void>;
  /** The firmware's variables as the node has them; without any in it they stay as they are. The guest is off. */
  putBackVariables(instance: InstanceUuid, checkpoint: CheckpointId): Promise<void>;
  /** What is kept for a node, to be copied elsewhere; nothing is fine. */
  keptFiles(instance: InstanceUuid, checkpoint: CheckpointId): Promise<readonly KeptFile[]>;
  /**
   * Keeps for a node what `keptFiles` gave once: the save that belongs to `memory`, or without it the variables alone; of other files nothing is read. One that is kept
   * already stays. The caller has seen that the memory has our `seal`. AgentError `save-damaged` for a save that is not that one or too large.
   */
  importKept(instance: InstanceUuid, checkpoint: CheckpointId, files: readonly KeptFile[], options: { readonly memory: CheckpointMemory | null; readonly signal: AbortSignal }): Promise<void>;
  /** What nobody but this host can tell of a node's memory, always the same: it comes back from elsewhere with it. */
  seal(instance: InstanceUuid, checkpoint: CheckpointId, memory: CheckpointMemory): Promise<string>;
  /** Nodes of which something is kept. */
  kept(instance: InstanceUuid): Promise<readonly CheckpointId[]>;
  /** Removes what is kept for a node; idempotent. */
  dropKept(instance: InstanceUuid, checkpoint: CheckpointId): Promise<void>;
}

export interface HypervisorDriver extends KeptCheckpoints {
  /** Probes the host, loads vmm if needed. AgentError `host-unusable` with what to do. */
  prepare(): Promise<HostCapabilities>;
  readonly capabilities: HostCapabilities;
  inventory(): Promise<HostInventory>;
  /** All guests with a folder here plus none that is not ours. */
  list(): Promise<readonly InstanceUuid[]>;
  state(instance: InstanceUuid): Promise<GuestState>;
  powerState(instance: InstanceUuid): Promise<PowerState>;
  /** Of many with one look at the process list. One that could not be looked at is not in the answer, and logged. */
  powerStates(instances: readonly InstanceUuid[]): Promise<ReadonlyMap<InstanceUuid, PowerState>>;
  /** Writes instance.json, bhyve.conf and the variable store; keeps stored slots; idempotent. Not for a running guest. */
  define(definition: GuestDefinition): Promise<void>;
  definition(instance: InstanceUuid): Promise<GuestDefinition | undefined>;
  /** Where the devices of a definition sit, or will sit once it is defined: `bus:slot:function` by device key (`nic:PORT`, `disk:ROLE`). */
  plannedSlots(definition: GuestDefinition): Promise<Readonly<Record<string, string>>>;
  /** Stored PCI slots for the operator. */
  slots(instance: InstanceUuid): Promise<Readonly<Record<string, string>>>;
  /** Starts the supervisor and waits until bhyve runs. AgentError `guest-start-failed` with bhyve's last words. Running already = fine. */
  start(instance: InstanceUuid): Promise<void>;
  /** Ends the guest and its supervisor, cleans /dev/vmm; running not = fine. */
  stop(instance: InstanceUuid, options: StopOptions): Promise<Verdict | null>;
  /** Asks the guest to reboot; false if it did not end and come back within the limit (caller goes hard). */
  softReboot(instance: InstanceUuid, options: StopOptions): Promise<boolean>;
  /**
   * Freezes a running guest where it is (SIGSTOP of its bhyve), and lets it go on. Idempotent. AgentError `guest-not-running` for a guest that is
   * off, `guest-pause-failed` if the process does not obey.
   */
  pause(instance: InstanceUuid): Promise<void>;
  unpause(instance: InstanceUuid): Promise<void>;
  /**
   * What storage needs of a guest on qcow2 disks; see ChainGuests there. The memory that libvdsk saves with a checkpoint is thrown away.
   */
  readonly moveDisks: ChainGuests['moveDisks'];
  readonly checkpointDisks: ChainGuests['checkpointDisks'];
  /**
   * Why the guest cannot be saved now, in a sentence for its user; null if it can. To be asked before `suspend`, which refuses for the same reasons: a host
   * without a passed self-test, a device that would be lost, a guest that is paused, too little room.
   */
  whyNoSuspend(instance: InstanceUuid): Promise<string | null>;
  /**
   * Saves a running guest with its memory and ends it; one that is saved already is left alone. A save that was cut short by the end of the agent is waited for
   * and completed. `holdDisks` is called when the guest has ended, before anything can touch its disks. AgentError `guest-not-running`,
   * `guest-not-savable` (nothing was touched), `guest-suspend-failed` (the guest goes on, or has ended without a save: the message says which),
   * `guest-suspend-unfinished` (bhyve neither finished nor gave up; everything is left as it is).
   */
  suspend(instance: InstanceUuid, options: { readonly holdDisks: () => Promise<DiskEvidence>; readonly signal: AbortSignal }): Promise<void>;
  /** A save of the guest was begun, and is neither complete nor given up. */
  isSaving(instance: InstanceUuid): Promise<boolean>;
  /** There is a complete save of the guest, whatever it is worth by now. */
  hasSave(instance: InstanceUuid): Promise<boolean>;
  /**
   * Goes on with a saved guest; its save is removed once it runs. Running already = fine, and the save goes. `disks` are as they are now. AgentError
   * `save-missing`, `save-damaged`, `save-mismatch` (nothing was touched), `guest-resume-failed` (the guest is off, the save is kept). `onUp` is called once it
   * runs, some seconds before it has shown that it goes on running.
   */
  resume(instance: InstanceUuid, options: { readonly disks: DiskEvidence; readonly signal: AbortSignal; readonly onUp?: () => void }): Promise<void>;
  /**
   * Lets the next resume take the save though the host is not the one that made it, and says what differs; null, and nothing allowed, if nothing does. For operators.
   * AgentError `save-missing`, `save-damaged`, `save-mismatch` (another maker's processor, or files that this bhyve cannot read).
   */
  allowSave(instance: InstanceUuid): Promise<string | null>;
  /** Removes the save; none is fine. The guest starts cold then. */
  dropSave(instance: InstanceUuid): Promise<void>;
  /** Gives the guest's first processor an NMI; what it makes of it is its own. AgentError `guest-not-running`, `nmi-unsupported`. */
  injectNmi(instance: InstanceUuid): Promise<void>;
  /** The firmware forgets its settings and boot entries: the next start begins with new variables. Not for a running guest; idempotent. */
  forgetVariables(instance: InstanceUuid): Promise<void>;
  /** Stops by force if needed and removes the folder with all files. */
  destroy(instance: InstanceUuid): Promise<void>;
  /** Folder of the instance (for config drive and the like); made on demand. */
  folder(instance: InstanceUuid): Promise<string>;
  /** Takes guests over after an agent restart, by proof; leftovers are cleaned and get a verdict. Then watches. */
  adopt(): Promise<void>;
  /** Guest ended, started or rebooted without our asking; seen within a second or two. */
  onEvent(listener: (event: GuestEvent) => void): void;
  /** Last lines of com1; undefined for a guest that is not defined here. */
  consoleLog(instance: InstanceUuid, tailLines: number | null): Promise<string | undefined>;
  /** Where the RFB server of a running guest listens; null if it has none, or if nobody would answer there because the guest is paused. Opens nothing. */
  vncEndpoint(instance: InstanceUuid): Promise<{ host: string; port: number } | null>;
  /**
   * Makes sure that proxies reach the screen of a running guest, and says where; null as above. With guarded screens (src/console) that is a port of the agent's; only a
   * guest that was started without a password, and has the port itself, is reached as it is. AgentError `no-console-port` (retry later).
   */
  openVncConsole(instance: InstanceUuid): Promise<{ host: string; port: number } | null>;
  diagnostics(instance: InstanceUuid): Promise<GuestDiagnostics>;
  uptimeLine(): Promise<string>;
  /** Opens an interactive console on the guest's first serial port; null if the guest does not run or the host offers none. AgentError `no-console-port`. */
  openSerialConsole(instance: InstanceUuid): Promise<{ host: string; port: number } | null>;
  /** Whether this port is the guest's serial console now. If so, the next connection within seconds is let in; no other is. */
  admitToSerialConsole(instance: InstanceUuid, port: number): Promise<boolean>;
  /** Keeps logs below their limits and closes consoles that nobody uses. */
  upkeep(): Promise<void>;
  close(): Promise<void>;
}
