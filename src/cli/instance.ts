/** `nova-bhyve instance UUID`: all that is known here of one instance. */
import { join } from 'node:path';
import type { InstanceUuid } from '../lib/ids.js';
import type { JournalledOperation } from '../journal/index.js';
import type { NodeView } from './node-view.js';
import { formatBytes, renderFields, renderJson, renderTable, type Output } from './output.js';
import { describeState, oneInstance, summarizeInstances, withoutPayload, type InstanceSummary } from './summarize.js';

interface Details extends InstanceSummary {
  readonly folder: string;
  readonly slots: Readonly<Record<string, string>>;
  readonly vnc: { readonly host: string; readonly port: number } | null;
  readonly history: readonly JournalledOperation[];
}

async function readDetails(node: NodeView, uuid: InstanceUuid, statePath: string): Promise<Details> {
  const [summary] = await summarizeInstances(node, [uuid]);
  const journal = await node.readJournal();
  return {
    ...summary!,
    folder: join(statePath, 'instances', uuid),
    slots: summary!.definition === null ? {} : await readSlots(node, uuid),
    vnc: await node.driver.vncEndpoint(uuid),
    history: journal.history(uuid),
  };
}

/** The fixed slots depend on the host, so it must have been probed; a host that is unusable has been all the same. */
async function readSlots(node: NodeView, uuid: InstanceUuid): Promise<Readonly<Record<string, string>>> {
  await node.driver.prepare().catch(() => undefined); // `check` is the command that tells why
  return node.driver.slots(uuid).catch(() => ({})); // not probed at all: better no slots than no answer
}

const steps = (operation: JournalledOperation): string => [...operation.steps].map(([name, mark]) => (mark === 'done' ? name : `${name} (${mark})`)).join(', ');

function renderDetails(details: Details): string {
  const { definition, state } = details;
  const sections = [renderFields([
    ['uuid', details.uuid],
    ['name', details.name ?? '-'],
    ['guest', describeState(state)],
    ...(state.kind === 'running' ? [['process', `${state.pid}, since ${new Date(state.startedAtSeconds * 1000).toISOString()}`] as const] : []),
    ...(state.kind === 'stopped' && state.verdict !== null ? [['ended', state.verdict.kind === 'crashed' ? `${state.verdict.at}: ${state.verdict.reason}` : state.verdict.at] as const] : []),
    ...(definition === null ? [] : [['size', `${definition.vcpus} vCPUs, ${definition.memoryMiB} MiB`] as const]),
    ['console', details.vnc === null ? 'no VNC' : `VNC ${details.vnc.host}:${details.vnc.port}`],
    ['folder', details.folder],
    ...details.oddities.map((oddity) => ['note', oddity] as const),
  ])];
  const section = (title: string, head: readonly string[], rows: readonly (readonly string[])[]): void => {
    if (rows.length > 0) sections.push(`${title}\n${renderTable(head, rows)}`);
  };
  section('Disks', ['role', 'size', 'dataset', 'device or file'], details.disks.map((disk) => [disk.role, formatBytes(disk.bytes), disk.dataset ?? '-', disk.devicePath]));
  section('Taps', ['tap', 'port', 'mac', 'mtu'], tapRows(details));
  section('PCI slots', ['slot', 'device'], Object.entries(details.slots).map(([device, slot]) => [slot, device]));
  section('Journal', ['accepted', 'operation', 'request', 'outcome', 'steps'], details.history.map((operation) => [
    operation.acceptedAt, operation.rpc, operation.requestId ?? '-', operation.outcome ?? (operation.hasBegun ? 'under way' : 'waiting'), steps(operation),
  ]));
  return sections.join('\n');
}

/** Taps of the definition with what is there, then ours that are in no definition. */
function tapRows({ definition, taps }: Details): string[][] {
  const nics = definition?.nics ?? [];
  const stray = taps.filter((tap) => !nics.some((nic) => nic.tapName === tap.tapName));
  return [...nics.map((nic) => [nic.tapName, nic.port, nic.mac, String(nic.mtu)]), ...stray.map((tap) => [tap.tapName, tap.port, '-', '-'])];
}

/** `wanted`: a uuid, or as much of its beginning as is clear. Resolves with the exit code: 1 if there is no such instance, or more than one. */
export async function showInstance(node: NodeView, wanted: string, options: { json: boolean; statePath: string }, output: Output): Promise<number> {
  const uuid = await oneInstance(node, wanted, output);
  if (uuid === null) return 1;
  const details = await readDetails(node, uuid, options.statePath);
  const { history, open, ...rest } = details;
  output.out(options.json ? renderJson({ ...rest, open: open.map(withoutPayload), history: history.map(withoutPayload) }) : renderDetails(details));
  return 0;
}
