/**
 * Interactive consoles of guests, for nova-serialproxy. The log and the session are two things that do not know each other:
 *
 *   guest ── com1 ── nmdmNA ~ nmdmNB ──▶ reader (of the supervisor) ──▶ console.log ──▶ follower ──▶ client
 *                              ▲                                                                       │
 *                              └──────────────── what the client types ◀──────────────────────────────┘
 *
 * The reader outlives the agent and never misses a byte; a session lives in the agent, and is opened anew after a restart. There is one client a guest:
 * a newer one that has shown its token takes over, so that a browser which died does not lock its user out.
 *
 * Whoever can reach the port must not get the console by that: the proxy checks a token and asks validate_console_port before it connects, so one
 * connection is let in after a check, soon, and every other is closed at once. Nothing grows: a client that reads slowly is waited for and then
 * skips (the log has it all), what is typed waits in the client's socket while the guest does not read.
 */
import type { Clock } from '../../lib/clock.js';
import { AgentError, codeOf } from '../../lib/errors.js';
import type { InstanceUuid } from '../../lib/ids.js';
import type { Host, HostConnection, HostListener, TerminalInput } from '../../host/index.js';
import type { Logger } from '../../observe/index.js';

export interface SerialOptions {
  /** Where the proxy reaches this host, and nobody else should. */
  readonly address: string;
  readonly portRange: { readonly first: number; readonly last: number };
  /** A listener that nobody used for this long is closed. */
  readonly idleMs: number;
}

/** From the check of the port to the connection. */
const admissionMs = 15_000;
const pollMs = 40;

interface Console {
  readonly paths: ConsolePaths;
  readonly listener: HostListener;
  admittedUntilMs: number;
  usedMs: number;
  session: AbortController | null;
}

export interface ConsolePaths {
  readonly log: string;
  readonly terminal: string;
}

export interface SerialConsoles {
  /** Opens the guest's port unless it is open. AgentError `no-console-port` (retry later) when the whole range is taken. */
  open(instance: InstanceUuid, paths: ConsolePaths): Promise<{ host: string; port: number }>;
  /** Whether the guest is at this port; if so, the next connection within a few seconds is let in. */
  admit(instance: InstanceUuid, port: number): boolean;
  /** Ends the session and closes the port. */
  close(instance: InstanceUuid): Promise<void>;
  closeIdle(): Promise<void>;
  closeAll(): Promise<void>;
}

export interface SerialDeps {
  readonly host: Host;
  readonly clock: Clock;
  readonly log: Logger;
}

export function createSerialConsoles(deps: SerialDeps, options: SerialOptions): SerialConsoles {
  const { clock, log } = deps;
  const consoles = new Map<InstanceUuid, Console>();
  const opening = new Map<InstanceUuid, Promise<Console>>();

  function welcome(instance: InstanceUuid, connection: HostConnection): void {
    const console = consoles.get(instance);
    if (console === undefined || clock.monotonicMs() > console.admittedUntilMs) {
      log.warn({ instance, remote: connection.remote }, 'a serial console was knocked at without a token');
      connection.close();
      return;
    }
    console.admittedUntilMs = -Infinity;
    console.session?.abort();
    const session = new AbortController();
    console.session = session;
    log.info({ instance, remote: connection.remote }, 'serial console entered');
    void serve(deps, console.paths, connection, session).finally(() => {
      console.usedMs = clock.monotonicMs();
      if (console.session === session) console.session = null;
      log.info({ instance, remote: connection.remote }, 'serial console left');
    });
  }

  async function listen(instance: InstanceUuid, paths: ConsolePaths): Promise<Console> {
    const { first, last } = options.portRange;
    const count = last - first + 1;
    const start = Number.parseInt(instance.slice(0, 8), 16) % count;
    for (let offset = 0; offset < count; offset += 1) {
      const listener = await deps.host.listen(options.address, first + ((start + offset) % count), (connection) => welcome(instance, connection));
      if (listener === undefined) continue;
      const made: Console = { paths, listener, admittedUntilMs: -Infinity, usedMs: clock.monotonicMs(), session: null };
      consoles.set(instance, made);
      log.info({ instance, port: listener.port }, 'serial console opened');
      return made;
    }
    throw new AgentError('no-console-port', `no port between ${first} and ${last} is free: widen [serial_console]port_range`, { retry: 'later' });
  }

  const consolesApi: SerialConsoles = {
    async open(instance, paths) {
      const made = consoles.get(instance) ?? (await (opening.get(instance) ?? remember(instance, listen(instance, paths))));
      made.usedMs = clock.monotonicMs();
      return { host: options.address, port: made.listener.port };
    },
    admit(instance, port) {
      const console = consoles.get(instance);
      if (console === undefined || console.listener.port !== port) return false;
      console.admittedUntilMs = clock.monotonicMs() + admissionMs;
      console.usedMs = clock.monotonicMs();
      return true;
    },
    async close(instance) {
      const console = consoles.get(instance);
      if (console === undefined) return;
      consoles.delete(instance);
      console.session?.abort();
      await console.listener.close();
    },
    async closeIdle() {
      const limit = clock.monotonicMs() - options.idleMs;
      for (const [instance, { session, usedMs }] of consoles) if (session === null && usedMs < limit) await consolesApi.close(instance);
    },
    async closeAll() {
      for (const instance of consoles.keys()) await consolesApi.close(instance);
    },
  };

  /** Two requests at once share one port. */
  function remember(instance: InstanceUuid, work: Promise<Console>): Promise<Console> {
    opening.set(instance, work);
    return work.finally(() => opening.delete(instance));
  }

  return consolesApi;
}

/** One session, until the client leaves or `session` is aborted. Never rejects. */
async function serve(deps: SerialDeps, paths: ConsolePaths, connection: HostConnection, session: AbortController): Promise<void> {
  session.signal.addEventListener('abort', () => connection.close());
  const half = async (work: Promise<void>): Promise<void> => {
    try {
      await work;
    } catch (err) {
      if (!session.signal.aborted) deps.log.warn({ err }, 'a serial console failed');
    }
    session.abort();
  };
  await Promise.all([half(showOutput(deps, paths.log, connection, session.signal)), half(passInput(deps, paths.terminal, connection, session.signal))]);
}

async function showOutput({ host, clock }: SerialDeps, log: string, connection: HostConnection, signal: AbortSignal): Promise<void> {
  const follower = await host.files.follow(log);
  try {
    while (!signal.aborted) {
      const chunk = await follower.read();
      if (chunk.length > 0) await connection.write(chunk);
      else await clock.sleep(pollMs, signal);
    }
  } finally {
    await follower.close();
  }
}

/** What cannot be delivered because the guest is between two runs is dropped, as on a cable without a machine. */
async function passInput({ host, clock }: SerialDeps, path: string, connection: HostConnection, signal: AbortSignal): Promise<void> {
  let terminal: TerminalInput | undefined;
  try {
    for await (const chunk of connection.input) {
      for (let rest = chunk; rest.length > 0 && !signal.aborted;) {
        try {
          terminal ??= await host.files.openTerminal(path);
          const taken = await terminal.write(rest);
          rest = rest.subarray(taken);
          if (taken === 0) await clock.sleep(pollMs, signal);
        } catch (error) {
          if (codeOf(error) !== 'file-failed') throw error;
          await terminal?.close();
          terminal = undefined;
          break;
        }
      }
    }
  } finally {
    await terminal?.close();
  }
}
