/**
 * oslo.messaging RPC over AMQP 0-9-1, as client and as server; only this folder knows AMQP.
 *
 * What it promises
 *  - A message that an accept hook made durable is handled once, however often the broker delivers it; one that was not is left with
 *    the broker. Casts are confirmed by the broker; requests nobody wants are repeated until their limit, replies for a minute.
 *  - A call ends: with its result, RemoteError, `rpc-timeout`, `rpc-disconnected`, or the caller's signal.
 *  - The connection and its channels are rebuilt for ever, with full jitter, over all hosts of transport_url; whatever only a human can
 *    mend (login, queue arguments) is retried slowly and logged once, naming the option.
 *  - No password of transport_url and no body of a message reaches a log line or an error.
 *
 * How it is built, from the socket up
 *
 *   transport-url, connect-options ─ connection ─┬─ channels ─┬─ publisher (confirms) ─┬─ client (reply queue)
 *                                                │            │                        ├─ replier
 *              topology (what is declared) ──────┘            └─ server ─ admission ─ dispatcher
 *   envelope, failure: bytes ⇄ typed messages            self-call: are we callable?
 *
 * What can go wrong, and what happens
 *   broker gone, frozen, partitioned   heartbeat → reconnect; sent calls fail `rpc-disconnected`, unsent ones wait
 *   broker blocked (memory, disk)      publishing waits; health says so; nothing is rebuilt
 *   channel closed, consumer cancelled that channel alone is rebuilt; unacknowledged messages come again and are recognised
 *   reply queue expired or deleted     declared again under its name; sent calls fail `rpc-disconnected`
 *   caller's reply queue gone          repeated for 60 s, then the caller is forgotten for 60 s
 *   journal refuses (disk full)        the message goes back to the broker, slowly
 *   nobody notices any of it           our own ping does: 2 misses → channels, 4 → connection
 */
export type * from './types.js';
export { adminContext, contextFromWire, elevated, type RequestContext } from './context.js';
export { createRpc, openNotifier, type RpcOptions } from './create-rpc.js';
export { RemoteError, isRemote, isSilence } from './remote-error.js';
export type { TopologyOptions } from './topology.js';
export type { TlsOptions } from './connect-options.js';
export type { Notification, NotificationPriority, Notifier } from './notifier.js';
