/** What a saved guest is made of, as far as its description tells. */

/** Who wrote it, by content: FreeBSD 13 and its like, later releases, FreeBSD-UPB's JSON. */
export type SaveFamily = 'structs' | 'kern-structs' | 'upb-json';

/** One entry of the description. Where its bytes are in FILE.kern; null for upb-json, which has them as members of `state`. */
export interface SavedPart {
  readonly name: string;
  readonly bytes: bigint | null;
  readonly offset: bigint | null;
}

export type IntegerType = 'int8' | 'int16' | 'int32' | 'int64' | 'uint8' | 'uint16' | 'uint32' | 'uint64';

/** State as upb-json has it: members in the order of the file, named without their type. */
export type StateNode =
  | { readonly kind: 'group'; readonly members: ReadonlyMap<string, StateNode> }
  | { readonly kind: 'integer'; readonly type: IntegerType; readonly value: bigint }
  /** `base64` is checked; `bytes` is its decoded length. */
  | { readonly kind: 'bytes'; readonly base64: string; readonly bytes: number };

export interface SaveMeta {
  readonly family: SaveFamily;
  readonly vcpus: number;
  /** bhyve's name of the guest at the time of the save; printable, without blanks. */
  readonly guestName: string;
  readonly memoryBytes: bigint;
  /** State of the vmm object, in the order of the file. */
  readonly kernel: readonly SavedPart[];
  readonly devices: readonly SavedPart[];
  /** upb-json only: a group `kernel` and a group `devices`, each with one group per entry (`#2` is added to a name that comes again). */
  readonly state: StateNode | null;
}

/** A device of the guest's configuration: bhyve's model after its aliases are resolved (`ahci`, not `ahci-hd`), on bus 0, function 0. */
export interface SavableDevice {
  readonly model: string;
  readonly slot: number;
}

/** What a save of this guest must hold. `devices` is all that is configured on PCI, the host bridge and lpc included. */
export interface SaveExpectation {
  readonly guestName: string;
  readonly vcpus: number;
  readonly memoryBytes: bigint;
  readonly devices: readonly SavableDevice[];
}

/** Sizes of FILE and FILE.kern; null: there is no such file. */
export interface SaveSizes {
  readonly ramBytes: bigint | null;
  readonly kernelBytes: bigint | null;
}
