/** Drives test/contract/oslo-peer.py: the real Python oslo.messaging as client of our server and as server for our client. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface PeerError {
  readonly class: string;
  readonly module: string;
  readonly text: string;
  readonly remote_class: string | null;
  readonly code: number | null;
  readonly kwargs: Readonly<Record<string, string>>;
  readonly bases: readonly string[];
}

export interface PeerOrder {
  readonly target: Readonly<Record<string, unknown>>;
  readonly method: string;
  readonly args?: Readonly<Record<string, unknown>>;
  readonly timeout?: number;
  readonly monitor?: number;
}

export type PeerAnswer = { readonly result: unknown; readonly error?: undefined } | { readonly result?: undefined; readonly error: PeerError };

export interface OsloPeer {
  call(order: PeerOrder): Promise<PeerAnswer>;
  cast(order: PeerOrder): Promise<PeerAnswer>;
  serve(topic: string, server: string): Promise<void>;
  /** Arguments of the casts that its `note` method got. */
  seen(): Promise<readonly unknown[]>;
  /** Listens for notifications with the real listener. */
  listen(topics: readonly string[]): Promise<void>;
  /** What it heard so far. */
  notifications(): Promise<readonly HeardNotification[]>;
  stop(): Promise<void>;
}

export interface HeardNotification {
  readonly priority: string;
  readonly context: Readonly<Record<string, unknown>>;
  readonly publisher_id: string;
  readonly event_type: string;
  readonly payload: Readonly<Record<string, unknown>>;
  readonly metadata: Readonly<Record<string, unknown>>;
}

export async function startOsloPeer(transportUrl: string): Promise<OsloPeer> {
  const script = join(import.meta.dirname, '../contract/oslo-peer.py');
  const child = spawn('/usr/bin/python3', ['-W', 'ignore', script, transportUrl], { stdio: ['pipe', 'pipe', 'pipe'], env: { PATH: '/usr/bin:/bin', PYTHONWARNINGS: 'ignore' } });
  const waiting = new Map<number, (answer: PeerAnswer) => void>();
  let complaints = '';
  child.stderr.on('data', (data: Buffer) => { complaints = (complaints + data.toString()).slice(-4000); });
  let last = 0;
  const answerOf = (id: number): Promise<PeerAnswer> => new Promise((resolve, reject) => {
    const ended = (): void => reject(new Error(`oslo-peer ended:\n${complaints}`));
    waiting.set(id, (answer) => {
      child.off('exit', ended);
      resolve(answer);
    });
    child.once('exit', ended);
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    const answer = JSON.parse(line) as PeerAnswer & { id: number };
    waiting.get(answer.id)?.(answer);
    waiting.delete(answer.id);
  });
  child.setMaxListeners(1000);
  const order = (what: Record<string, unknown>): Promise<PeerAnswer> => {
    last += 1;
    const answer = answerOf(last);
    child.stdin.write(`${JSON.stringify({ ...what, id: last })}\n`);
    return answer;
  };
  await answerOf(0);
  return {
    call: (what) => order({ ...what, do: 'call' }),
    cast: (what) => order({ ...what, do: 'cast' }),
    async serve(topic, server) {
      const { error } = await order({ do: 'serve', topic, server });
      if (error !== undefined) throw new Error(error.text);
    },
    seen: async () => (await order({ do: 'seen' })).result as unknown[],
    async listen(topics) {
      const { error } = await order({ do: 'listen', topics });
      if (error !== undefined) throw new Error(error.text);
    },
    notifications: async () => (await order({ do: 'notifications' })).result as HeardNotification[],
    async stop() {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
    },
  };
}
