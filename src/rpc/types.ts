/**
 * What the rest of the agent sees of oslo.messaging (2.0 envelope over AMQP 0-9-1). Only this folder knows AMQP.
 */
import type { RequestContext } from './context.js';

export interface RpcTarget {
  /** Control exchange; default our own ('nova'). Neutron's is 'neutron'. */
  readonly exchange?: string;
  readonly topic: string;
  /** With a server the message goes to `topic.server`. */
  readonly server?: string;
  readonly fanout?: boolean;
  readonly namespace?: string;
  readonly version: string;
}

export interface RpcCallOptions {
  /** Limit for the whole call; default rpc_response_timeout (60 s). */
  readonly timeoutMs?: number;
  /** With this the call is monitored: the server must say "still alive" within each interval of this length. */
  readonly monitorMs?: number;
  readonly signal?: AbortSignal;
}

export interface RpcClient {
  /**
   * Sends and waits for the reply. Throws RemoteError for an exception on the other side, AgentError
   * `rpc-timeout` or `rpc-disconnected` (both retry 'later': the other side may have done the work).
   */
  call(target: RpcTarget, method: string, args: Readonly<Record<string, unknown>>, context: RequestContext, options?: RpcCallOptions): Promise<unknown>;
  /** Sends; resolved when the broker has confirmed the message. */
  cast(target: RpcTarget, method: string, args: Readonly<Record<string, unknown>>, context: RequestContext): Promise<void>;
}

/** The decoded inner message (`oslo.message`), as journalled. */
export type WireMessage = Readonly<Record<string, unknown>>;

export interface IncomingMessage {
  readonly method: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly context: RequestContext;
  /** `_unique_id` */
  readonly messageId: string;
  /** Whether the sender waits for an answer. */
  readonly isCall: boolean;
  readonly version: string;
  /** The inner message as it came: enough to run it again after a restart. */
  readonly wire: WireMessage;
}

export interface RpcMethod {
  /** Wire name. */
  readonly rpc: string;
  /** The arguments' names. When given, a missing or unexpected one is answered with TypeError before `accept` runs. */
  readonly parameters?: { readonly required: readonly string[]; readonly optional: readonly string[] };
  /**
   * Called before the message is acknowledged, when present: makes it durable. 'duplicate' drops it.
   * Rejecting leaves the message unacknowledged (it is redelivered).
   */
  accept?(message: IncomingMessage): Promise<'new' | 'duplicate'>;
  /** Runs after the acknowledgement. The result is the reply of a call; an AgentError with `wire` becomes that exception. */
  handle(message: IncomingMessage): Promise<unknown>;
}

/** Methods of one namespace. `version` is the highest minor served, e.g. '6.5'. */
export interface RpcEndpoint {
  readonly namespace: string | null;
  readonly version: string;
  readonly methods: ReadonlyMap<string, RpcMethod>;
}

export interface RpcServer {
  /**
   * Declares queues and consumes `topics` (each: topic, topic.server, fanout); resolves when it does. As long as the broker is away or
   * refuses, it tries again (one log line a cause) and this does not resolve; it rejects when the Rpc is closed.
   */
  start(): Promise<void>;
  /** Stops consuming the given topics (all if absent); work under way goes on. */
  stop(topics?: readonly string[]): Promise<void>;
  /** Messages being handled now. */
  readonly inFlight: number;
  /** Resolves when nothing is in flight, or rejects when `signal` fires. */
  drained(signal: AbortSignal): Promise<void>;
  /**
   * Runs a journalled message again (IncomingMessage.wire), without accept hook and without a reply: who asked has gone. Resolves with
   * the method's result; rejects with its error, or as a caller would see it if there is no such method (any more).
   */
  dispatch(wire: WireMessage): Promise<unknown>;
}

/** The broker connection's life, for health checks. */
export interface RpcHealth {
  /** Connected, and the broker takes messages. */
  readonly connected: boolean;
  /** Whether our own ping through the broker came back in time. */
  readonly callable: boolean;
  /** ISO time since when, and why. */
  readonly since: string;
  readonly reason: string;
}

/** Everything of this folder, connected: what main.ts makes once. */
export interface Rpc {
  readonly client: RpcClient;
  /**
   * The server for our own topics; call once. baseapi (ping, get_backdoor_port) and oslo_rpc_server_ping are added. After its start()
   * the agent calls itself through the broker every report interval.
   */
  server(endpoints: readonly RpcEndpoint[]): RpcServer;
  health(): RpcHealth;
  /** Resolves when the broker connection is open; rejects with the signal's reason. */
  connected(signal: AbortSignal): Promise<void>;
  /**
   * Stops consuming, ends calls in flight with `rpc-disconnected`, deletes our own transient queues, closes the connection. Work under
   * way is not waited for: call the server's stop() and drained() first.
   */
  close(): Promise<void>;
}
