/** What the read-only commands see of a node. main.ts makes it from the configuration; a test makes it from fakes. */
import type { Config } from '../config/index.js';
import type { Host } from '../host/index.js';
import type { JournalReader } from '../journal/index.js';
import type { Plugger } from '../network/index.js';
import type { NodeStorage } from '../storage/index.js';
import type { HypervisorDriver } from '../virt/index.js';
import type { RunSelfTest } from './selftest.js';

export interface NodeView {
  readonly host: Pick<Host, 'toolPath' | 'run'>;
  readonly driver: Pick<HypervisorDriver, 'prepare' | 'capabilities' | 'list' | 'state' | 'definition' | 'slots' | 'vncEndpoint' | 'kept' | 'whyNoReturn' | 'allowSave'>;
  readonly storage: Pick<NodeStorage, 'usage' | 'disks' | 'instancesWithDisks' | 'checkpoints'>;
  readonly plugger: Pick<Plugger, 'listOwned'>;
  /** Read beside the running agent. */
  readonly readJournal: () => Promise<JournalReader>;
  /** For `selftest`, which starts guests of its own. */
  readonly selfTest: RunSelfTest;
  /** The certificate of guarded screens; null if they are not. Rejects with what is wrong with the files. */
  readonly screenTls: () => Promise<{ readonly validTo: Date; readonly isExpired: boolean } | null>;
  /** For `check --online`: each resolves with a word about what was found, or rejects with the reason. */
  readonly reach: {
    readonly broker: () => Promise<string>;
    readonly keystone: () => Promise<string>;
  };
  /** Gives back what was opened for this one command. */
  readonly close: () => Promise<void>;
}

/** Makes the view; nothing is started, adopted or changed. */
export type OpenNode = (config: Config) => Promise<NodeView>;
