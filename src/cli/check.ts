/** `nova-bhyve check`: is the configuration right, is this host fit, what can it do and what not. */
import type { LoadedConfig } from '../config/index.js';
import { AgentError } from '../lib/errors.js';
import { canSaveNvme, type HostCapabilities } from '../virt/index.js';
import type { NodeView } from './node-view.js';
import { formatBytes, renderJson, renderTable, type Output } from './output.js';

/** `no`: the agent cannot work; `limit`: it works, without this; `note`: look at it. */
export type Verdict = 'ok' | 'note' | 'limit' | 'no';

export interface CheckLine {
  readonly area: string;
  readonly what: string;
  readonly verdict: Verdict;
  readonly answer: string;
  readonly advice: string | null;
}

const line = (area: string, what: string, verdict: Verdict, answer: string, advice: string | null = null): CheckLine =>
  ({ area, what, verdict, answer, advice: verdict === 'ok' ? null : advice });

const wordsOf = (error: unknown): string => {
  const chain: string[] = [];
  for (let one = error; one instanceof Error && chain.length < 4; one = one.cause) chain.push(one.message);
  return chain.join(': ') || String(error);
};

function checkConfig({ files, warnings }: LoadedConfig): CheckLine[] {
  return [line('config', 'files', 'ok', files.join(', ')), ...warnings.map((warning) => line('config', 'warning', 'note', warning))];
}

/** Probes that fail without making guests impossible are limits; which ones do, the driver says by refusing. */
async function checkHost(node: NodeView): Promise<{ lines: CheckLine[]; capabilities: HostCapabilities | null }> {
  const refusal: unknown = await node.driver.prepare().then(() => null, (error: unknown) => error ?? 'unknown');
  let capabilities: HostCapabilities | null = null;
  try {
    capabilities = node.driver.capabilities;
  } catch {
    // not even probed: the refusal below says why
  }
  const lines = (capabilities?.findings ?? []).map((finding) =>
    line('host', finding.probe, finding.isOk ? 'ok' : 'limit', finding.answer, finding.advice));
  if (refusal !== null) lines.push(line('host', 'guests', 'no', wordsOf(refusal)));
  return { lines, capabilities };
}

async function checkTools(node: NodeView): Promise<CheckLine[]> {
  const needed = [['zfs', 'belongs to the base system'], ['zpool', 'belongs to the base system'], ['makefs', 'belongs to the base system; config drives need it'], ['qemu-img', 'pkg install qemu-tools; images that are not raw need it']] as const;
  return needed.map(([tool, advice]) => {
    const path = node.host.toolPath(tool);
    const isVital = tool === 'zfs' || tool === 'zpool';
    return line('host', `tool ${tool}`, path === undefined ? (isVital ? 'no' : 'limit') : 'ok', path ?? 'missing', advice);
  });
}

async function checkStorage(node: NodeView, root: string): Promise<CheckLine[]> {
  try {
    const { totalBytes, availableBytes } = await node.storage.usage();
    const isTight = availableBytes * 10n < totalBytes;
    return [line('zfs', root, isTight ? 'note' : 'ok', `${formatBytes(availableBytes)} of ${formatBytes(totalBytes)} free`, 'less than a tenth is free: builds will soon fail')];
  } catch (error) {
    const pool = root.split('/')[0]!;
    const answer = await node.host.run('zpool', ['list', '-Hp', '-o', 'health', pool], { okExits: 'any' }).catch(() => undefined);
    if (answer?.code === 0 && error instanceof AgentError && error.code === 'zfs-missing') {
      return [line('zfs', root, 'note', 'does not exist yet', 'the agent makes it at its first start')];
    }
    return [line('zfs', root, 'no', wordsOf(error), `set [zfs] root to a dataset in a pool of this host ("zpool list"), e.g. ${pool}/nova`)];
  }
}

function checkDiskFormat({ config }: LoadedConfig, capabilities: HostCapabilities | null): CheckLine[] {
  if (config.bhyve.disk_format === 'raw' || capabilities === null) return [];
  const path = `${config.DEFAULT.state_path}/chains`;
  return capabilities.hasLibvdsk
    ? [line('storage', 'disk_format', 'ok', `new servers get qcow2 files in ${path}`)]
    : [line('storage', 'disk_format', 'no', 'qcow2, and bhyve opens raw disks only', 'set [bhyve] disk_format to raw, or install a bhyve with libvdsk')];
}

/** Nothing for screens that are not guarded; the configuration has its own warning. */
async function checkScreens(node: NodeView): Promise<CheckLine[]> {
  try {
    const tls = await node.screenTls();
    if (tls === null) return [];
    const until = tls.validTo.toISOString().slice(0, 10);
    return [line('console', 'VNC', tls.isExpired ? 'limit' : 'ok', `TLS, certificate valid until ${until}`, 'renew the certificate of [vnc] tls_cert_file: until then no proxy shows a console')];
  } catch (error) {
    return [line('console', 'VNC', 'no', wordsOf(error), 'see tls_cert_file, tls_key_file and tls_client_ca_file in [vnc]')];
  }
}

async function checkNetwork(node: NodeView, { l2_agent: l2 }: LoadedConfig['config']): Promise<CheckLine[]> {
  if (!l2.enabled) return [line('network', 'l2 agent', 'note', 'off', 'another agent must wire the ports of this host; or set [l2_agent] enabled')];
  const lines: CheckLine[] = [];
  for (const [physical, bridge] of Object.entries(l2.bridge_mappings)) {
    const uplink = l2.interface_mappings[physical];
    for (const [what, name] of [['bridge', bridge], ['uplink', uplink]] as const) {
      if (name === undefined) continue;
      const found = await node.host.run('ifconfig', [name], { okExits: 'any' }).catch(() => undefined);
      const isThere = found?.code === 0;
      const advice = what === 'bridge' ? 'made when the first port needs it' : `there is no interface ${name}: nothing can leave this host by ${physical}`;
      lines.push(line('network', `${physical} ${what}`, isThere ? 'ok' : what === 'bridge' ? 'note' : 'limit', isThere ? name : `${name} is absent`, advice));
    }
  }
  return lines;
}

async function checkCloud(node: NodeView): Promise<CheckLine[]> {
  const ask = (what: string, question: () => Promise<string>, advice: string): Promise<CheckLine> =>
    question().then((answer) => line('cloud', what, 'ok', answer), (error: unknown) => line('cloud', what, 'no', wordsOf(error), advice));
  return [
    await ask('broker', node.reach.broker, 'see [DEFAULT] transport_url and [oslo_messaging_rabbit]'),
    await ask('keystone', node.reach.keystone, 'see auth_url and the log-in in [placement] and [neutron]'),
  ];
}

/** What this host can and cannot do, in an operator's words. */
export function describeAbilities(capabilities: HostCapabilities): { can: string[]; cannot: string[] } {
  const abilities: readonly (readonly [string, boolean])[] = [
    ['run guests', capabilities.canVirtualize && capabilities.firmware !== null],
    ['keep UEFI variables per guest', capabilities.firmware !== null && capabilities.firmware.vars !== null],
    ['VNC consoles', capabilities.hasFramebuffer],
    ['suspend and resume', capabilities.saveRestore.status === 'ready'],
    ...(capabilities.saveRestore.status === 'ready' ? [['suspend servers with NVMe disks', canSaveNvme(capabilities.saveRestore)] as const] : []),
  ];
  const named = (wanted: boolean): string[] => abilities.filter(([, is]) => is === wanted).map(([name]) => name);
  return { can: named(true), cannot: named(false) };
}

const word: Readonly<Record<Verdict, string>> = { ok: 'ok', note: 'note', limit: 'limit', no: 'NO' };

/** Resolves with the exit code: 1 if the agent cannot work here. */
export async function checkNode(node: NodeView, loaded: LoadedConfig, options: { json: boolean; online: boolean }, output: Output): Promise<number> {
  const host = await checkHost(node);
  const lines = [
    ...checkConfig(loaded), ...host.lines, ...(await checkTools(node)), ...(await checkStorage(node, loaded.config.zfs.root)), ...checkDiskFormat(loaded, host.capabilities),
    ...(await checkScreens(node)), ...(await checkNetwork(node, loaded.config)), ...(options.online ? await checkCloud(node) : []),
  ];
  const isUsable = lines.every(({ verdict }) => verdict !== 'no');
  const abilities = host.capabilities === null ? { can: [], cannot: [] } : describeAbilities(host.capabilities);
  if (options.json) {
    output.out(renderJson({ isUsable, ...abilities, lines }));
    return isUsable ? 0 : 1;
  }
  output.out(renderTable(['', 'area', 'what', 'answer'], lines.map((one) => [word[one.verdict], one.area, one.what, one.answer])));
  const advice = lines.filter((one) => one.advice !== null);
  if (advice.length > 0) output.out(`\n${renderTable(['', 'what to do'], advice.map((one) => [one.what, one.advice!]))}`);
  if (abilities.can.length > 0) output.out(`\nThis host can: ${abilities.can.join(', ')}.\n`);
  if (abilities.cannot.length > 0) output.out(`It cannot: ${abilities.cannot.join(', ')}.\n`);
  output.out(isUsable ? '\nThe agent can run here.\n' : '\nThe agent cannot run here: see the lines that say NO.\n');
  return isUsable ? 0 : 1;
}
