/**
 * oslo.messaging's envelope 2.0 (wire.md section 2): a JSON object with the inner message as JSON in a string. A failure is JSON in a
 * string inside that. Everything that comes from the broker is parsed here once; what does not parse is AgentError `rpc-malformed`.
 */
import { randomUUID } from 'node:crypto';
import { AgentError } from '../lib/errors.js';
import { contextFromWire, contextToWire, type RequestContext } from './context.js';
import type { IncomingMessage, WireMessage } from './types.js';

const ENVELOPE_VERSION = '2.0';
/** Nova's deepest message (a RequestSpec in a build) nests some thirty levels. What is nested thousands of levels deep can be read, but not written to the journal. */
const MAX_NESTING = 500;

/** 32 hex digits, as oslo makes its `_unique_id`, `_msg_id` and queue names. */
export const hexId = (): string => randomUUID().replaceAll('-', '');

/** Where the answer of a call goes. */
export interface ReplyAddress {
  readonly queue: string;
  readonly callId: string;
  /** A monitored call: the caller gives up unless it hears from us within each such interval. Null: not monitored. */
  readonly monitorMs: number | null;
}

export interface IncomingRequest {
  readonly message: IncomingMessage;
  readonly namespace: string | null;
  readonly replyTo: ReplyAddress | null;
}

export interface IncomingReply {
  readonly callId: string;
  readonly messageId: string | null;
  readonly result: unknown;
  /** The failure as it came: JSON text. */
  readonly failure: string | null;
  readonly isEnding: boolean;
}

export interface OutgoingRequest {
  readonly method: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly namespace?: string;
  readonly version: string;
  readonly context: RequestContext;
  readonly messageId: string;
  readonly replyTo?: ReplyAddress;
}

const malformed = (reason: string, cause?: unknown): AgentError =>
  new AgentError('rpc-malformed', `malformed message: ${reason}`, cause === undefined ? {} : { cause });

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);
const textOr = <T>(value: unknown, otherwise: T): string | T => (typeof value === 'string' && value !== '' ? value : otherwise);

/** True if `text`, taken as JSON, nests deeper than any honest message. Looks at characters only: a parsed value would have to be walked by recursion. */
function isNestedTooDeep(text: string): boolean {
  let depth = 0;
  let isInString = false;
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (isInString) {
      if (code === 0x5c) index += 1; // a backslash: whatever follows is part of the string
      else if (code === 0x22) isInString = false;
    } else if (code === 0x22) isInString = true;
    else if (code === 0x7b || code === 0x5b) {
      depth += 1;
      if (depth > MAX_NESTING) return true;
    } else if (code === 0x7d || code === 0x5d) depth -= 1;
  }
  return false;
}

function parseJson(text: string, what: string): unknown {
  if (isNestedTooDeep(text)) throw malformed(`${what} is nested too deep`);
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // V8's SyntaxError quotes the text, which may hold secrets: it is not kept as the cause.
    throw malformed(`${what} is not JSON`);
  }
}

/** The bytes of an AMQP body around an inner message. */
export function wrap(inner: WireMessage): Buffer {
  return Buffer.from(JSON.stringify({ 'oslo.version': ENVELOPE_VERSION, 'oslo.message': JSON.stringify(inner) }));
}

/** The inner message of an AMQP body. Throws AgentError `rpc-malformed`. */
export function unwrap(body: Buffer): WireMessage {
  const outer = parseJson(body.toString('utf8'), 'the body');
  if (!isRecord(outer)) throw malformed('the body is not an object');
  const version = outer['oslo.version'];
  // A body without an envelope is envelope version 1.0, as oslo reads it.
  if (version === undefined && outer['oslo.message'] === undefined) return outer;
  if (typeof version !== 'string' || !/^2\.\d+$/.test(version)) throw malformed('the envelope version is not 2.x');
  if (typeof outer['oslo.message'] !== 'string') throw malformed('oslo.message is not a string');
  const inner = parseJson(outer['oslo.message'], 'oslo.message');
  if (!isRecord(inner)) throw malformed('oslo.message is not an object');
  return inner;
}

function replyAddressOf(inner: WireMessage): ReplyAddress | null {
  const callId = textOr(inner['_msg_id'], null);
  const queue = textOr(inner['_reply_q'], null);
  if (callId === null || queue === null) return null;
  const seconds = Math.trunc(Number(inner['_timeout'] ?? 0));
  // Below two seconds half of it is no interval to keep: oslo ignores it too.
  return { queue, callId, monitorMs: Number.isFinite(seconds) && seconds >= 2 ? seconds * 1000 : null };
}

/** Reads a request's inner message. Throws AgentError `rpc-malformed`. */
export function parseRequest(inner: WireMessage): IncomingRequest {
  const method = inner['method'];
  if (typeof method !== 'string' || method === '') throw malformed('there is no method');
  const args = inner['args'] ?? {};
  if (!isRecord(args)) throw malformed('args is not an object');
  const replyTo = replyAddressOf(inner);
  return {
    namespace: textOr(inner['namespace'], null),
    replyTo,
    message: {
      method,
      args,
      context: contextFromWire(inner),
      // Everyone sends an id; one without it still needs a name in the journal.
      messageId: textOr(inner['_unique_id'], null) ?? hexId(),
      isCall: replyTo !== null,
      version: textOr(inner['version'], '1.0'),
      wire: inner,
    },
  };
}

/** Reads a reply's inner message. Throws AgentError `rpc-malformed`. */
export function parseReply(inner: WireMessage): IncomingReply {
  const callId = inner['_msg_id'];
  if (typeof callId !== 'string') throw malformed('the reply has no _msg_id');
  const failure = inner['failure'] ?? null;
  return {
    callId,
    messageId: textOr(inner['_unique_id'], null),
    result: inner['result'] ?? null,
    failure: failure === null ? null : typeof failure === 'string' ? failure : JSON.stringify(failure),
    isEnding: inner['ending'] === true,
  };
}

/** The inner message of a call (with `replyTo`) or a cast. */
export function renderRequest(request: OutgoingRequest): WireMessage {
  const { replyTo } = request;
  return {
    method: request.method,
    args: request.args,
    ...(request.namespace === undefined ? {} : { namespace: request.namespace }),
    version: request.version,
    ...(replyTo === undefined ? {} : {
      _msg_id: replyTo.callId,
      _reply_q: replyTo.queue,
      _timeout: replyTo.monitorMs === null ? null : Math.max(1, Math.floor(replyTo.monitorMs / 1000)),
    }),
    _unique_id: request.messageId,
    ...contextToWire(request.context),
  };
}

/** The inner message of an answer; `failure` is the JSON text of failure.ts. */
export function renderReply(callId: string, outcome: { result?: unknown; failure?: string | null; isEnding: boolean }): WireMessage {
  return { result: outcome.result ?? null, failure: outcome.failure ?? null, ending: outcome.isEnding, _msg_id: callId, _unique_id: hexId() };
}
