/**
 * The only door to FreeBSD. Commands run with an argument array and an absolute path found once at start, never through
 * a shell; each has a name, a time limit and an output limit. Files are written atomically (temporary file, fsync,
 * rename, fsync of the folder). A process is ours only if pid, start time and title agree.
 */
import type { Socket } from 'node:net';

/** Base-system and package tools that the agent calls; found in PATH once, at start. */
export type ToolName =
  | 'bhyve' | 'bhyvectl' | 'zfs' | 'zpool' | 'ifconfig' | 'sysctl' | 'kldstat' | 'kldload' | 'ps' | 'daemon' | 'makefs'
  | 'qemu-img' | 'uname' | 'freebsd-version' | 'sh' | 'netstat' | 'uptime' | 'limits' | 'pciconf' | 'dd' | 'rctl' | 'mke2fs' | 'newfs_msdos';

export interface RunOptions {
  /** Milliseconds until the command is killed; default 30 000. */
  readonly timeoutMs?: number;
  /** Bytes of stdout kept; more is AgentError `command-output-too-large`. Default 4 MiB. */
  readonly maxOutputBytes?: number;
  /** Exit codes besides 0 that are answers, not errors. 'any' accepts all. */
  readonly okExits?: readonly number[] | 'any';
  readonly stdin?: string | Uint8Array;
  readonly cwd?: string;
  readonly signal?: AbortSignal;
}

export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProcessInfo {
  readonly pid: number;
  readonly parentPid: number;
  /** As ps prints `lstart`, normalised to epoch seconds (UTC). */
  readonly startedAtSeconds: number;
  /** Full title or command line. */
  readonly command: string;
  readonly residentKiB: number;
  readonly cpuSeconds: number;
  /** ps state letters, e.g. 'S', 'T' (stopped). */
  readonly state: string;
}

/** What proves that a process is the one we mean. */
export interface ProcessProof {
  readonly pid: number;
  readonly startedAtSeconds: number;
  /** The title must be exactly this, e.g. `bhyve: NAME`, or match if a RegExp. */
  readonly command: string | RegExp;
}

export interface HostFiles {
  /** Whole file as text, or undefined if it does not exist. AgentError `file-too-large` past `maxBytes` (default 16 MiB). */
  readText(path: string, maxBytes?: number): Promise<string | undefined>;
  /** Last `maxBytes` of a file, or undefined if it does not exist. */
  readTail(path: string, maxBytes: number): Promise<Uint8Array | undefined>;
  /** Atomic and durable; mode defaults to 0600. */
  writeAtomic(path: string, content: string | Uint8Array, mode?: number): Promise<void>;
  /** Create-exclusive and durable; false if it was there already. */
  createExclusive(path: string, content: string, mode?: number): Promise<boolean>;
  makeDirectory(path: string, mode?: number): Promise<void>;
  /** Removes a file or folder tree; no error if absent. The path must lie below `root`, or it throws a Bug. */
  remove(path: string, root: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  copy(from: string, to: string, mode?: number): Promise<void>;
  /** A second name for a file, on the same file system; what has that name already is AgentError `file-failed`. */
  link(from: string, to: string): Promise<void>;
  truncate(path: string, bytes: number): Promise<void>;
  exists(path: string): Promise<boolean>;
  sizeBytes(path: string): Promise<bigint | undefined>;
  /** What may still be written by us on the file system of a folder that exists. */
  freeBytes(folder: string): Promise<bigint>;
  /** Brings to the disk what somebody else wrote into a file, and its name. */
  sync(path: string): Promise<void>;
  /** Names in a folder, sorted; empty if it does not exist. */
  list(path: string): Promise<string[]>;
  /** Writable sink for a download: `write`, then exactly one of `commit` (fsync) or `abort` (removes). */
  openSink(path: string, mode?: number): Promise<FileSink>;
  /** Begins at the end that the file has now; a file that does not exist yet is read from its beginning. */
  follow(path: string): Promise<FileFollower>;
  openTerminal(path: string): Promise<TerminalInput>;
  /** Streams a file in chunks from `start` (inclusive) to `end` (exclusive). */
  openSource(path: string, range?: { start: bigint; end: bigint }): AsyncIterable<Uint8Array>;
}

/** Reads what is appended to a file, over rotations of it (rename, and a new file of the same name). */
export interface FileFollower {
  /** What came since the last call, at most 64 KiB; empty if nothing did. A reader that is more than 1 MiB behind skips to the last 64 KiB. */
  read(): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** The writing end of a terminal; opened without waiting for its other side. */
export interface TerminalInput {
  /** How many octets it took: 0 while it is full. */
  write(chunk: Uint8Array): Promise<number>;
  close(): Promise<void>;
}

/** One client of a listener. */
export interface HostConnection {
  readonly remote: string;
  /** Chunks in their order; nothing is read ahead while one is at work. Ends when the client is gone. */
  readonly input: AsyncIterable<Uint8Array>;
  /** Resolves when the client can take more, or is gone. */
  write(chunk: Uint8Array): Promise<void>;
  close(): void;
}

/** A TCP connection as it is, for a protocol that becomes another one on the way (TLS). Its errors end in its end. */
export type HostSocket = Socket;

export interface HostListener {
  readonly port: number;
  close(): Promise<void>;
}

export interface FileSink {
  write(chunk: Uint8Array): Promise<void>;
  commit(): Promise<void>;
  abort(): Promise<void>;
}

export interface HostProcesses {
  list(): Promise<ProcessInfo[]>;
  find(pid: number): Promise<ProcessInfo | undefined>;
  /** Sends a signal only if the process still matches the proof; false if it does not. */
  signal(proof: ProcessProof, signal: NodeJS.Signals): Promise<boolean>;
  /** Starts a command in its own session with stdio on files or null; it survives the agent. */
  spawnDetached(tool: ToolName, args: readonly string[], options: { cwd: string; stdoutPath?: string }): Promise<number>;
}

export interface Host {
  /** Absolute path of a tool; undefined if the host does not have it. */
  toolPath(tool: ToolName): string | undefined;
  /** Runs a tool. AgentError `command-missing`, `command-failed` (details: tool, code, stderr tail), `command-timeout`. */
  run(tool: ToolName, args: readonly string[], options?: RunOptions): Promise<RunResult>;
  /** Runs a tool and streams `source` to its stdin (zfs receive, dd of a zvol). */
  runWithInput(tool: ToolName, args: readonly string[], source: AsyncIterable<Uint8Array>, options?: RunOptions): Promise<RunResult>;
  readonly files: HostFiles;
  readonly processes: HostProcesses;
  /** Listens for TCP; undefined if somebody has the port. AgentError `listen-failed` for an address that is not this host's. */
  listen(address: string, port: number, onConnection: (connection: HostConnection) => void): Promise<HostListener | undefined>;
  /** The same with the sockets themselves, which are paused. What comes while `maxConnections` are open is hung up on. */
  listenForSockets(address: string, port: number, maxConnections: number, onSocket: (socket: HostSocket) => void): Promise<HostListener | undefined>;
  /** Connects by TCP. AgentError `connect-failed`. */
  connect(address: string, port: number, signal: AbortSignal): Promise<HostSocket>;
  /** The device root: `/dev` on FreeBSD, a folder in the lab. */
  readonly deviceRoot: string;
  /** One sysctl as text, or undefined if the node has no such name. */
  sysctl(name: string): Promise<string | undefined>;
}
