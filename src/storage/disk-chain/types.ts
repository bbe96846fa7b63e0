/**
 * A disk as a chain of qcow2 files in a folder of its own, for hosts whose bhyve opens qcow2 (libvdsk) and for guests that are off. The guest writes to one file, the
 * active one; every other file of the chain is only read:
 *
 *     image (cache) ◀── base ◀── A ◀── B (active)          `◀──` = is the backing file of
 *                        │        └ state of checkpoint B
 *                        └ state of checkpoint A; going to A adds a sibling:  base ◀── OPERATION (active)
 *
 * An external checkpoint freezes the active file, which is its state from then on, and the guest goes on in a new overlay that has the checkpoint's name, as libvdsk's
 * `--ext-checkpoint` does it. An internal one is a snapshot inside the active file. One disk has nodes of one kind: a snapshot inside a file that others rest on could
 * neither be gone to nor survive a rebase.
 *
 * `chain.json` says which file is the active one, which are nodes and how they descend, and which files are nobody's any more. It is replaced as a whole, after what it
 * speaks of is on the disk: killed anywhere, the old state or the new one is there, never a part. A file is made under a temporary name and listed as nobody's before it
 * gets its own; `tidy` removes what is nobody's, and only that. A rebase changes how a file says its content and not the content, so it may be cut off and done again.
 *
 * What can go wrong otherwise: a header that names a backing file which is not ours (never followed), files of different cluster sizes (libvdsk cannot read them), a chain
 * that is too long. Formats are always given to qemu-img and never guessed.
 */
import type { CheckpointId } from '../../lib/ids.js';
import type { ChainKind, CheckpointKeeping } from '../types.js';

/** An overlay of its own, or a snapshot inside the active file. */
export type CheckpointKind = ChainKind;

/** What a node is for. `copy`: kept for a while to be read, as an image that is made of the disk; no checkpoint to its user. */
export interface CheckpointPurpose extends CheckpointKeeping {
  readonly use: 'checkpoint' | 'copy';
}

/** A snapshot in the table of a qcow2 file. */
export interface InternalSnapshot { readonly id: string; readonly name: string }

export interface ChainFile {
  /** In the disk's folder; null for a cached image. */
  readonly name: string | null;
  readonly path: string;
  /** As a guest sees it. */
  readonly virtualBytes: bigint;
  readonly clusterBytes: number;
  /** Path of the file that this one rests on. */
  readonly backingPath: string | null;
  readonly snapshots: readonly InternalSnapshot[];
}

export interface ChainNode {
  readonly id: CheckpointId;
  readonly parent: CheckpointId | null;
  readonly kind: CheckpointKind;
  /** Name of the file that holds its state. */
  readonly file: string;
  readonly at: Date;
  /** `running`: crash-consistent, as after a power cut. */
  readonly guest: 'running' | 'off';
  readonly purpose: CheckpointPurpose;
}

export interface ChainView {
  /** What the guest's disk is attached from. */
  readonly activePath: string;
  readonly bytes: bigint;
  /** From the active file down to the one that rests on nothing. */
  readonly files: readonly ChainFile[];
  /** The oldest first. */
  readonly nodes: readonly ChainNode[];
  /** The node that the active file descends from, and from no newer one. */
  readonly current: CheckpointId | null;
  /** The work that put the active file in its place; null for one that was there from the beginning. */
  readonly madeFor: string | null;
  /** Files that one of the others needs, or that wait for `tidy`, with those of `files`. */
  readonly others: readonly ChainFile[];
  /** The move that the disk may go back before. */
  readonly keptFor: string | null;
  /** What the guest may write to by now, or at any time: bhyve was asked to make it, and nobody knows whether it is still at it. */
  readonly pendingPath: string | null;
}

/**
 * One call at a time is worked on. All throw AgentError `disk-chain-damaged` (a file or the index is not as we write it; nothing was changed), `disk-chain-refused`
 * (with what to do), `layout-too-new`, `command-…`, `file-…`; `file-no-space` when the file system is full. All may be repeated after a crash, with the same arguments.
 */
export interface DiskChain {
  /** Makes the first file, empty or on a cached image (absolute path); `bytes` null = as large as the image. A chain that is there is left alone. `madeFor` as in `restore`. */
  create(options: { readonly image: string | null; readonly bytes: bigint | null; readonly madeFor?: string }): Promise<void>;
  /** Undefined without a chain. Reads headers only, and notes what bhyve has made meanwhile; safe while a guest runs. */
  look(): Promise<ChainView | undefined>;
  /** Grows the active file; one that is as large stays. The guest is off. */
  grow(bytes: bigint): Promise<void>;
  /** The guest is off. Idempotent: the first call decides the moment. */
  checkpoint(id: CheckpointId, kind: CheckpointKind, purpose?: CheckpointPurpose): Promise<void>;
  /** The file that holds the state of an external node, whose files below are as they must be. AgentError `checkpoint-missing`. */
  pathOf(id: CheckpointId): Promise<string>;
  /** Refuses where `checkpoint` would; changes nothing. */
  requireRoom(kind: CheckpointKind): Promise<void>;
  /**
   * bhyve makes it, of a guest that runs: `ask` asks it and returns when it has done so or given up, which the files then tell. An `ask` that throws leaves it
   * open, unless the code of the error is `disk-chain-refused`, `guest-checkpoint-refused` or `guest-not-running`: the checkpoint is found by a later call of anything if it was made. Idempotent.
   */
  checkpointRunning(id: CheckpointId, kind: CheckpointKind, ask: () => Promise<void>, purpose?: CheckpointPurpose): Promise<void>;
  /**
   * Takes the disk to a node; what was written since the newest one is given up. The guest is off. `madeFor` names the work: a second call for it finds it done, whatever
   * the guest wrote since. AgentError `checkpoint-missing`.
   */
  restore(id: CheckpointId, madeFor: string): Promise<void>;
  /**
   * Puts a new file in the place of the active one: empty, or on a cached image. Nodes stay; the old content goes with the next `tidy` unless one of them needs it. The
   * guest is off. `madeFor` as in `restore`; a name that is no node's.
   */
  replace(options: { readonly image: string | null; readonly bytes: bigint | null }, madeFor: string): Promise<void>;
  /** Puts what is in a raw file (absolute path) in the place of the active file, which nothing rests on and which no guest has seen. */
  fill(raw: string): Promise<void>;
  /**
   * Remembers the present state for a move, which `goBack` takes the disk to (size and what was put in its place included) until `forgetKept`; what was remembered for
   * another move goes. The guest is off. All idempotent, and without anything for the move nothing is done.
   */
  keep(move: string): Promise<void>;
  goBack(move: string): Promise<void>;
  forgetKept(move: string): Promise<void>;
  /** Takes a node out of the tree, its children become its parent's; `tidy` frees what it held. May be called while a guest runs. Idempotent. */
  remove(id: CheckpointId): Promise<void>;
  /** Makes the active file rest on the cached image alone, or on nothing. No node changes. The guest is off. */
  flatten(): Promise<void>;
  /**
   * Removes what is nobody's. A file that one other rests on is merged into that first; one that several rest on stays until they are fewer. While a guest runs
   * (`isInUse`) its own chain is not touched. How many files and snapshots are left to do.
   */
  tidy(options: { readonly isInUse: boolean }): Promise<number>;
}
