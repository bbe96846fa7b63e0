/**
 * oslo's transport_url: `rabbit://user:pass@host1:port,user2:pass2@host2/vhost?option=value`. Every part is percent-escaped by itself,
 * IPv6 addresses stand in brackets. No error made here quotes the URL: it has passwords in it.
 */
import { AgentError } from '../lib/errors.js';

export interface BrokerHost {
  readonly hostname: string;
  /** 5672 unless given, also with TLS, as oslo has it. */
  readonly port: number;
  readonly username: string;
  readonly password: string;
}

export interface TransportUrl {
  readonly hosts: readonly BrokerHost[];
  readonly virtualHost: string;
  /** Driver options given in the URL; they override those of [oslo_messaging_rabbit]. */
  readonly query: Readonly<Record<string, string>>;
}

const DEFAULT_PORT = 5672;

function refuse(reason: string): never {
  throw new AgentError('rpc-transport-url', `transport_url: ${reason}`);
}

function unescape(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return refuse(`the ${what} has a % that is not followed by two hex digits; write % as %25`);
  }
}

function parsePort(text: string): number {
  if (text === '') return DEFAULT_PORT;
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port === 0 || port > 65535) refuse('a port is not a number from 1 to 65535; a : or @ in a password must be escaped');
  return port;
}

function parseAddress(text: string): { hostname: string; port: number } {
  if (text.startsWith('[')) {
    const end = text.indexOf(']');
    const rest = text.slice(end + 1);
    if (end < 0 || (rest !== '' && !rest.startsWith(':'))) refuse('an IPv6 address must be written as [address]:port');
    return { hostname: text.slice(1, end), port: parsePort(rest.slice(1)) };
  }
  const colon = text.indexOf(':');
  if (colon < 0) return { hostname: text, port: DEFAULT_PORT };
  return { hostname: text.slice(0, colon), port: parsePort(text.slice(colon + 1)) };
}

function parseHost(text: string): BrokerHost {
  const at = text.lastIndexOf('@');
  const { hostname, port } = parseAddress(text.slice(at + 1));
  const login = at < 0 ? '' : text.slice(0, at);
  const colon = login.indexOf(':');
  const username = unescape(colon < 0 ? login : login.slice(0, colon), 'user');
  const password = unescape(colon < 0 ? '' : login.slice(colon + 1), 'password');
  // RabbitMQ's own default login, as kombu has it; a host does not inherit the login of its neighbour.
  return { hostname: hostname === '' ? 'localhost' : hostname, port, username: username === '' ? 'guest' : username, password: login === '' ? 'guest' : password };
}

function parseQuery(text: string): Record<string, string> {
  const query: Record<string, string> = {};
  for (const [key, value] of new URLSearchParams(text)) query[key] = Object.hasOwn(query, key) ? `${query[key]},${value}` : value;
  return query;
}

/** Throws AgentError `rpc-transport-url`, which never contains the URL or a part of it. */
export function parseTransportUrl(url: string): TransportUrl {
  const match = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/i.exec(url);
  if (match === null) return refuse('it must look like rabbit://user:password@host:5672/vhost, with special characters escaped as %nn');
  const [, scheme = '', authority = '', path = '', query = ''] = match;
  if (!['rabbit', 'kombu'].includes(scheme.toLowerCase())) refuse('only the rabbit:// transport is supported');
  const hosts = authority.split(',').filter((host) => host !== '').map(parseHost);
  const virtualHost = unescape(path, 'virtual host');
  return {
    hosts: hosts.length > 0 ? hosts : [parseHost('')],
    virtualHost: virtualHost === '' ? '/' : virtualHost,
    query: parseQuery(query),
  };
}

/** The broker hosts in a random order, one after the other, for ever: a failed one is tried again only after all the others. */
export function rotateHosts(hosts: readonly BrokerHost[], random: () => number): { next(): BrokerHost } {
  const order = [...hosts];
  for (let last = order.length - 1; last > 0; last -= 1) {
    const other = Math.floor(random() * (last + 1));
    [order[last], order[other]] = [order[other]!, order[last]!];
  }
  let turn = 0;
  return { next: () => order[turn++ % order.length]! };
}
