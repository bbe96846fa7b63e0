/**
 * A host in memory that behaves: files with folders and links-free paths, processes that can be signalled, tools that are functions. It
 * keeps the promises of src/host/host.ts that callers lean on: exit codes that are not listed are errors, missing tools are
 * `command-missing`, an aborted signal ends the call, files are replaced whole.
 */
import { dirname } from 'node:path';
import { assert } from '../../src/lib/assert.js';
import { AgentError } from '../../src/lib/errors.js';
import { matchesProof, type Host, type HostFiles, type ProcessInfo, type RunOptions, type RunResult, type ToolName } from '../../src/host/index.js';

export interface ToolCall {
  readonly tool: ToolName;
  readonly args: readonly string[];
  /** What came in on stdin. */
  readonly input: Uint8Array;
  readonly options: RunOptions;
}

/** Answers a call; a bare string is stdout of exit 0. */
export type FakeTool = (call: ToolCall) => Partial<RunResult> | string | Promise<Partial<RunResult> | string>;

export interface FakeHost extends Host {
  /** Every command so far as one line each, e.g. `zfs list -Hp`. */
  readonly commands: string[];
  /** Installs or replaces a tool. */
  tool(name: ToolName, answer: FakeTool): void;
  readonly sysctls: Map<string, string>;
  readonly processTable: ProcessInfo[];
  /** Signals that were sent, after proof. */
  readonly signals: { pid: number; signal: NodeJS.Signals }[];
  /** What `spawnDetached` started. */
  readonly detached: { tool: ToolName; args: readonly string[]; pid: number }[];
  readonly disk: FakeDisk;
}

export interface FakeDisk {
  readonly files: Map<string, Uint8Array>;
  readonly folders: Set<string>;
  /** Paths that exist without content (device nodes). */
  readonly nodes: Set<string>;
  /** What is left of the file system, whatever is written. */
  freeBytes: bigint;
}

export function createFakeHost(options: { deviceRoot?: string; tools?: Partial<Record<ToolName, FakeTool>> } = {}): FakeHost {
  const tools = new Map<ToolName, FakeTool>(Object.entries(options.tools ?? {}) as [ToolName, FakeTool][]);
  const disk: FakeDisk = { files: new Map(), folders: new Set(['/']), nodes: new Set(), freeBytes: 1n << 40n };
  const commands: string[] = [];
  const sysctls = new Map<string, string>();
  const run = async (tool: ToolName, args: readonly string[], runOptions: RunOptions = {}, source?: AsyncIterable<Uint8Array>): Promise<RunResult> => {
    throwIfAborted(runOptions.signal);
    commands.push([tool, ...args].join(' '));
    const answer = tools.get(tool);
    if (answer === undefined) throw new AgentError('command-missing', `this host has no ${tool}`, { details: { tool } });
    const input = source === undefined ? Buffer.from(runOptions.stdin ?? '') : await drain(source);
    const given = await answer({ tool, args, input, options: runOptions });
    throwIfAborted(runOptions.signal);
    const result = { code: 0, stdout: '', stderr: '', ...(typeof given === 'string' ? { stdout: given } : given) };
    if (result.code === 0 || runOptions.okExits === 'any' || runOptions.okExits?.includes(result.code) === true) return result;
    throw new AgentError('command-failed', `${tool} failed`, { details: { tool, code: result.code, stderr: result.stderr } });
  };
  return {
    deviceRoot: options.deviceRoot ?? '/dev',
    commands, sysctls, disk,
    listen: () => Promise.reject(new Error('nobody listens on the fake host')),
    listenForSockets: () => Promise.reject(new Error('nobody listens on the fake host')),
    connect: () => Promise.reject(new Error('nobody listens on the fake host')),
    tool: (name, answer) => void tools.set(name, answer),
    toolPath: (tool) => (tools.has(tool) ? `/fake/bin/${tool}` : undefined),
    run: (tool, args, runOptions) => run(tool, args, runOptions),
    runWithInput: (tool, args, source, runOptions) => run(tool, args, runOptions, source),
    sysctl: async (name) => sysctls.get(name),
    files: createFakeFiles(disk),
    ...createFakeProcesses(),
  };
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw signal.reason instanceof Error ? signal.reason : new AgentError('aborted', 'the work was cancelled');
}

async function drain(source: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function createFakeProcesses(): Pick<FakeHost, 'processes' | 'processTable' | 'signals' | 'detached'> {
  const processTable: ProcessInfo[] = [];
  const signals: FakeHost['signals'] = [];
  const detached: FakeHost['detached'] = [];
  return {
    processTable, signals, detached,
    processes: {
      list: async () => [...processTable],
      find: async (pid) => processTable.find((info) => info.pid === pid),
      async signal(proof, signal) {
        const info = processTable.find((candidate) => matchesProof(candidate, proof));
        if (info === undefined) return false;
        signals.push({ pid: info.pid, signal });
        if (signal === 'SIGKILL') processTable.splice(processTable.indexOf(info), 1);
        return true;
      },
      async spawnDetached(tool, args) {
        const pid = 1000 + detached.length;
        detached.push({ tool, args, pid });
        processTable.push({ pid, parentPid: 1, startedAtSeconds: 1_795_000_000 + pid, command: [tool, ...args].join(' '), residentKiB: 1, cpuSeconds: 0, state: 'S' });
        return pid;
      },
    },
  };
}

const failed = (errno: string, path: string): AgentError => new AgentError('file-failed', 'a file operation failed', { details: { errno, path } });

function createFakeFiles(disk: FakeDisk): HostFiles {
  const { files, folders, nodes } = disk;
  const octets = (content: string | Uint8Array): Uint8Array => Uint8Array.from(Buffer.from(content));
  const exists = (path: string): boolean => files.has(path) || folders.has(path) || nodes.has(path);
  const put = (path: string, content: string | Uint8Array): void => {
    if (!folders.has(dirname(path))) throw failed('ENOENT', path);
    if (folders.has(path)) throw failed('EISDIR', path);
    files.set(path, octets(content));
  };
  const need = (path: string): Uint8Array => {
    const content = files.get(path);
    if (content === undefined) throw failed('ENOENT', path);
    return content;
  };
  return {
    async readText(path, maxBytes = 16 * 1024 * 1024) {
      const content = files.get(path);
      if (content !== undefined && content.length > maxBytes) throw new AgentError('file-too-large', 'a file is larger than it may be');
      return content === undefined ? undefined : Buffer.from(content).toString('utf8');
    },
    readTail: async (path, maxBytes) => files.get(path)?.slice(-maxBytes),
    writeAtomic: async (path, content) => put(path, content),
    async createExclusive(path, content) {
      if (exists(path)) return false;
      put(path, content);
      return true;
    },
    async makeDirectory(path) {
      for (let folder = path; folder !== '/'; folder = dirname(folder)) folders.add(folder);
    },
    async remove(path, root) {
      assert(path.startsWith(`${root}/`) && !path.includes('/../'), 'a file to be removed lies below its root');
      for (const set of [files, folders, nodes]) for (const name of [...set.keys()]) if (name === path || name.startsWith(`${path}/`)) set.delete(name);
    },
    async rename(from, to) {
      if (folders.has(from)) {
        const isMoved = (name: string): boolean => name === from || name.startsWith(`${from}/`);
        for (const name of [...folders].filter(isMoved)) {
          folders.delete(name);
          folders.add(to + name.slice(from.length));
        }
        for (const [name, content] of [...files].filter(([path]) => isMoved(path))) {
          files.delete(name);
          files.set(to + name.slice(from.length), content);
        }
        return;
      }
      put(to, need(from));
      files.delete(from);
    },
    copy: async (from, to) => put(to, need(from)),
    link: async (from, to) => {
      if (exists(to)) throw failed('EEXIST', to);
      put(to, need(from)); // files are replaced whole: one that is written anew under one name stays as it was under the other
    },
    truncate: async (path, bytes) => put(path, Buffer.concat([need(path), Buffer.alloc(Math.max(0, bytes - need(path).length))]).subarray(0, bytes)),
    exists: async (path) => exists(path),
    async sizeBytes(path) {
      const content = files.get(path);
      return content !== undefined ? BigInt(content.length) : exists(path) ? 0n : undefined;
    },
    freeBytes: async () => disk.freeBytes,
    sync: async (path) => void need(path),
    follow: async (path) => {
      let position = files.get(path)?.length ?? 0;
      return {
        read: async () => {
          const chunk = (files.get(path) ?? new Uint8Array()).slice(position);
          position += chunk.length;
          return chunk;
        },
        close: async () => undefined,
      };
    },
    openTerminal: async (path) => {
      if (!exists(path)) throw failed('ENOENT', path);
      return {
        write: async (chunk) => {
          put(path, Buffer.concat([files.get(path) ?? new Uint8Array(), chunk]));
          return chunk.length;
        },
        close: async () => undefined,
      };
    },
    async list(path) {
      const names = [...files.keys(), ...folders, ...nodes].filter((name) => name !== '/' && dirname(name) === path).map((name) => name.slice(path === '/' ? 1 : path.length + 1));
      return [...new Set(names)].sort();
    },
    openSink: async (path) => openFakeSink(put, files, path),
    openSource: (path, range) => readFakeFile(need, path, range),
  };
}

function openFakeSink(put: (path: string, content: Uint8Array) => void, files: Map<string, Uint8Array>, path: string): Awaited<ReturnType<HostFiles['openSink']>> {
  const chunks: Uint8Array[] = [];
  let isOpen = true;
  put(path, new Uint8Array());
  const end = (): void => {
    assert(isOpen, 'a sink ends once');
    isOpen = false;
  };
  return {
    async write(chunk) {
      assert(isOpen, 'a sink that has ended takes no more');
      chunks.push(Uint8Array.from(chunk));
    },
    async commit() {
      end();
      put(path, Buffer.concat(chunks));
    },
    async abort() {
      end();
      files.delete(path);
    },
  };
}

async function* readFakeFile(need: (path: string) => Uint8Array, path: string, range?: { start: bigint; end: bigint }): AsyncGenerator<Uint8Array> {
  const content = need(path);
  const piece = range === undefined ? content : content.subarray(Number(range.start), Number(range.end));
  for (let offset = 0; offset < piece.length; offset += 65_536) yield piece.subarray(offset, offset + 65_536);
}
