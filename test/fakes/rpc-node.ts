/** One agent's RPC on a real broker, with methods whose course the test decides. */
import { systemClock } from '../../src/lib/clock.js';
import { createRpc, type IncomingMessage, type Rpc, type RpcMethod, type RpcOptions, type RpcServer } from '../../src/rpc/index.js';
import { noMetrics, recordingLog } from './recording-log.js';

export interface RpcNode {
  readonly rpc: Rpc;
  readonly server: RpcServer;
  /** Messages that `note` (with accept hook) and `work` handled. */
  readonly handled: IncomingMessage[];
  /** Ids that the accept hook was asked about. */
  readonly asked: string[];
  /** What the next accept does; default 'new'. */
  accepting: (message: IncomingMessage) => Promise<'new' | 'duplicate'>;
  /** Ends the running `work` calls. */
  finish(): void;
  lines(level?: number): Record<string, unknown>[];
}

export function createRpcNode(options: Pick<RpcOptions, 'transportUrl' | 'host'> & Partial<RpcOptions>): RpcNode {
  const { log, lines } = recordingLog();
  const rpc = createRpc({ clock: systemClock, log, metrics: noMetrics, retry: { baseMs: 50, maxMs: 200, refusedMs: 200 }, ...options });
  const running = new Set<() => void>();
  const methods: RpcMethod[] = [
    { rpc: 'echo', handle: async ({ args }) => args },
    {
      rpc: 'note',
      async accept(message) {
        node.asked.push(message.messageId);
        return node.accepting(message);
      },
      handle: async (message) => { node.handled.push(message); },
    },
    { rpc: 'work', handle: (message) => new Promise((resolve) => { node.handled.push(message); running.add(() => resolve('worked')); }) },
  ];
  const server = rpc.server([{ namespace: null, version: '6.5', methods: new Map(methods.map((method) => [method.rpc, method])) }]);
  const node: RpcNode = {
    rpc, server, handled: [], asked: [],
    accepting: async () => 'new',
    finish: () => {
      [...running].forEach((resolve) => resolve());
      running.clear();
    },
    lines: (level = 0) => lines().filter((line) => Number(line['level']) >= level),
  };
  return node;
}
