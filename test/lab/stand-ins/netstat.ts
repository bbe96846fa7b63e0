/** netstat(1): `--libxo json -ibn[d] [-I IF]` and `--libxo json -an -p tcp`; the same as text for a reader. */
import { readFileSync } from 'node:fs';
import { currentNode, type StandInNode } from './lib/lab-node.js';
import { type IpLink, readLinks } from './lib/ip.js';
import { Exit, getopt, getoptMessage, out, runTool } from './lib/tool.js';

const inputErrors = 'received-errors';

function interfaceRecord(link: IpLink, index: number): Record<string, unknown> {
  const { rx, tx } = link.stats64 ?? { rx: { bytes: 0, packets: 0, errors: 0, dropped: 0 }, tx: { bytes: 0, packets: 0, errors: 0, dropped: 0 } };
  return {
    name: link.ifname, flags: '0x8843', mtu: link.mtu, network: `<Link#${index + 1}>`, address: link.ifname === 'lo0' ? 'lo0' : link.address, 'received-packets': rx.packets,
    [inputErrors]: rx.errors, 'dropped-packets': rx.dropped, 'received-bytes': rx.bytes, 'sent-packets': tx.packets, 'send-errors': tx.errors, 'sent-bytes': tx.bytes, collisions: 0,
  };
}

function interfaces(node: StandInNode, only: string | undefined): Record<string, unknown>[] {
  return readLinks(node).filter((link) => !link.ifname.startsWith('fabric') && (only === undefined || link.ifname === only)).map(interfaceRecord);
}

/** Sockets of the host itself, where the agent and bhyve run. */
function tcpSockets(): Record<string, unknown>[] {
  const states: Readonly<Record<string, string>> = { '01': 'ESTABLISHED', '0A': 'LISTEN     ', '06': 'TIME_WAIT  ', '08': 'CLOSE_WAIT ' };
  return (['tcp', 'tcp6'] as const).flatMap((file) => readFileSync(`/proc/net/${file}`, 'utf8').split('\n').slice(1).filter((line) => line !== '').map((line) => {
    const [, local, remote, state] = line.trim().split(/\s+/) as [string, string, string, string];
    return { protocol: file === 'tcp' ? 'tcp4' : 'tcp6', 'receive-bytes-waiting': 0, 'send-bytes-waiting': 0, local: endpoint(local), remote: endpoint(remote), 'tcp-state': states[state] ?? 'CLOSED     ' };
  }));
}

function endpoint(text: string): { address: string; port: string } {
  const [hex, port] = text.split(':') as [string, string];
  const number = parseInt(port, 16);
  const isAny = /^0+$/.test(hex);
  const address = isAny ? '*' : hex.length === 8 ? [6, 4, 2, 0].map((at) => parseInt(hex.slice(at, at + 2), 16)).join('.') : '::1';
  return { address, port: number === 0 ? '*' : String(number) };
}

const heading = 'Name    Mtu Network       Address              Ipkts Ierrs Idrop     Ibytes    Opkts Oerrs     Obytes  Coll\n';

runTool((args) => {
  const node = currentNode();
  const isJson = args[0] === '--libxo' && args[1]?.startsWith('json') === true;
  const rest = isJson ? args.slice(2) : args;
  const { options, bad } = getopt(rest, 'AaBbdF:f:hI:iLM:mN:np:Q:qRrSsTuWw:xz46');
  if (bad !== undefined) throw new Exit(1, `${getoptMessage('netstat', bad)}usage: netstat [-46AaLnPRSTWx] [-f protocol_family | -p protocol]\n`);
  const has = (flag: string): boolean => options.some((option) => option.flag === flag);
  const value = (flag: string): string | undefined => options.find((option) => option.flag === flag)?.value;
  if (has('i') || has('I')) {
    const records = interfaces(node, value('I'));
    if (isJson) out(`${JSON.stringify({ statistics: { interface: records } })}\n`);
    else out(heading + records.map((record) => `${Object.values(record).join(' ')}\n`).join(''));
    return 0;
  }
  if (!isJson || !has('a') || value('p') !== 'tcp') throw new Exit(70, 'stand-in: only netstat -i, -I and --libxo json -an -p tcp are modelled\n');
  out(`${JSON.stringify({ statistics: { socket: tcpSockets() } })}\n`);
  return 0;
});
