/** The agent's end of the control socket; see index.ts. */
import { listenLocally, type LocalConnection } from '../host/index.js';
import { abortable } from '../lib/abort.js';
import { withTimeout, type Clock } from '../lib/clock.js';
import { AgentError, messageChain } from '../lib/errors.js';
import { shuttingDown } from '../instances/index.js';
import type { Logger, Metrics } from '../observe/index.js';
import { createLineReader, maxRequestBytes, parseLine, renderLine, requestLine, socketPathOf, type AnswerLine, type LineReader } from './protocol.js';

/** Resolves with what the operator is told, as JSON; rejects with the error that he is told. `progress` says what is done now. */
export type ControlRequest = (args: unknown, progress: (text: string) => void) => Promise<unknown>;

export interface ControlServer {
  /** Refuses new requests from now on, in words. */
  refuse(): void;
  /** Resolves when nothing is being done for an operator. */
  drained(signal: AbortSignal): Promise<void>;
  /** Tells those who still wait that the agent stops, and removes the socket. */
  close(): Promise<void>;
}

export interface ControlOptions {
  readonly statePath: string;
  readonly requests: ReadonlyMap<string, ControlRequest>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** How long a client may take to say what it wants, and an answer to be taken. */
const TALK_MS = 10_000;
const MAX_MESSAGE = 2000;

interface Client {
  say(line: AnswerLine): void;
  /** Says the last line, once, and ends the connection; later ones are dropped. */
  end(line: AnswerLine): Promise<void>;
}

/** Resolves when the socket can be connected to. AgentError `local-socket-failed`. The caller holds the claim on `statePath`. */
export async function serveControl(options: ControlOptions): Promise<ControlServer> {
  const { log, clock } = options;
  const atWork = new Map<Client, Promise<void>>();
  let isStopping = false;
  const onConnection = (connection: LocalConnection): void => {
    const client = clientOn(connection, clock);
    const work = serve(options, connection, client, () => isStopping)
      .catch((err: unknown) => log.error({ err }, 'control connection failed'))
      .finally(() => atWork.delete(client));
    atWork.set(client, work);
  };
  const path = socketPathOf(options.statePath);
  const listener = await listenLocally(path, onConnection, (err) => log.error({ err }, 'control socket failed'));
  log.info({ path }, 'control socket listens');
  return {
    refuse() { isStopping = true; },
    drained: (signal) => abortable(Promise.all(atWork.values()).then(() => undefined), signal),
    async close() {
      isStopping = true;
      await Promise.all([...atWork.keys()].map((client) => client.end({ error: toldOf(goesOnLater()) })));
      await listener.close();
    },
  };
}

const goesOnLater = (): AgentError => new AgentError('shutting-down', 'the agent is stopping; what it had begun it finishes or undoes when it runs again', { retry: 'later' });

/** What is sent stays in order and does not hold up the work. */
function clientOn(connection: LocalConnection, clock: Clock): Client {
  let isOver = false;
  let sent: Promise<void> = Promise.resolve();
  const send = (line: AnswerLine): void => { sent = sent.then(() => connection.write(renderLine(line))); };
  return {
    say(line) {
      if (!isOver) send(line);
    },
    async end(line) {
      if (isOver) return;
      isOver = true;
      send(line);
      await withTimeout(clock, TALK_MS, 'an answer to an operator', (signal) => abortable(sent, signal)).catch(() => connection.close()); // one that takes nothing is cut
      connection.end();
    },
  };
}

async function serve(options: ControlOptions, connection: LocalConnection, client: Client, isStopping: () => boolean): Promise<void> {
  const { clock, log } = options;
  const reader = createLineReader(connection.input, maxRequestBytes);
  try {
    const line = await withTimeout(clock, TALK_MS, 'a request of an operator', (signal) => abortable(reader.next(), signal));
    if (line === null) return connection.close(); // looked whether we are there, or was cut before it had said anything
    const { request, args } = parseLine(requestLine, line);
    noteLeaving(reader, log, request);
    await client.end({ result: await carryOut(options, isStopping, { request, args, client }) });
  } catch (err) {
    if (err instanceof AgentError) log.info({ err }, 'request of an operator not done');
    else log.error({ err }, 'request of an operator met a bug');
    await client.end({ error: toldOf(err) });
  }
}

/** Resolves with the request's result. */
async function carryOut({ requests, clock, log, metrics }: ControlOptions, isStopping: () => boolean, { request, args, client }: { request: string; args: unknown; client: Client }): Promise<unknown> {
  const work = requests.get(request);
  if (work === undefined) throw new AgentError('control-unknown-request', `this agent does not know the request ${JSON.stringify(request)}: it may be of another version than the command, and not have been restarted since`);
  if (isStopping()) throw shuttingDown();
  log.info({ request }, 'operator asks');
  const startedMs = clock.monotonicMs();
  let outcome = 'failed';
  try {
    const result = await work(args, (progress) => client.say({ progress }));
    outcome = 'succeeded';
    return result;
  } finally {
    metrics.count('agent_control_requests_total', { request, outcome });
    log.info({ request, outcome, ms: Math.round(clock.monotonicMs() - startedMs) }, 'operator answered');
  }
}

/** Whoever leaves does not stop what he has begun. */
function noteLeaving(reader: LineReader, log: Logger, request: string): void {
  reader.next().then(
    (line) => { if (line === null) log.debug({ request }, 'operator hung up'); },
    () => undefined, // says more than he may: nobody reads it
  );
}

function toldOf(error: unknown): { code: string; message: string; retry: 'no' | 'later' } {
  if (!(error instanceof AgentError)) return { code: 'internal', message: 'the agent met an internal error; its log says more', retry: 'no' };
  return { code: error.code, message: messageChain(error).slice(0, MAX_MESSAGE), retry: error.retry };
}
