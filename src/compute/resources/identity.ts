/**
 * Which node this is (nova-contract 2.5, 2.6). A file named `compute_id` holds one uuid: that of the ComputeNode row and of the resource
 * provider. It is looked for in the configuration folders and in state_path and written only to state_path, once. A host that lost its
 * file, was given another's, or was renamed must not start: it would take a second identity and orphan its guests' records.
 *
 *   file(s)  service row      guests   →
 *   one      none             0        this uuid, a new service
 *   none     none             0        a new uuid
 *   any      none             > 0      refuse: wrong database or cell
 *   one      any              any      this uuid
 *   none     version < 65     any      the uuid of the host's only node row
 *   none     version ≥ 65     any      refuse: identity lost
 *   two that differ                    refuse
 */
import { randomUUID } from 'node:crypto';
import { AgentError } from '../../lib/errors.js';
import { isUuid } from '../../lib/ids.js';
import type { Conductor } from '../../conductor/index.js';
import type { HostFiles } from '../../host/index.js';
import type { NovaObjectOf } from '../../objects/index.js';
import type { Logger } from '../../observe/index.js';
import type { RequestContext } from '../../rpc/context.js';

export interface IdentityDeps {
  readonly files: Pick<HostFiles, 'readText' | 'createExclusive'>;
  readonly conductor: Pick<Conductor, 'computeNodes' | 'profile'>;
  readonly log: Logger;
  readonly statePath: string;
  /** Folders of the configuration files. */
  readonly configPaths: readonly string[];
  /** Nova's service host and hypervisor_hostname. */
  readonly host: string;
  readonly node: string;
  readonly newUuid?: () => string;
}

const FILE = 'compute_id';
/** From this service version on a compute names its own node. */
const STABLE_IDENTITY = 65;

/**
 * The node's uuid, settled before anything is written to the cloud. AgentError `node-identity-lost`, `-conflict`, `-guests`, `-renamed` or
 * `-unreadable`: each says what to do.
 */
export async function establishIdentity(deps: IdentityDeps, context: RequestContext, service: NovaObjectOf<'Service'> | null, guestCount: number): Promise<string> {
  if (service === null && guestCount > 0) {
    throw new AgentError('node-identity-guests', `there are ${guestCount} guests here, but the cloud does not know this host: is it the right database, cell and [DEFAULT]host?`);
  }
  const uuid = await readIdentity(deps) ?? await writeIdentity(deps, await chooseIdentity(deps, context, service));
  await refuseRenamed(deps, context, uuid);
  return uuid;
}

async function readIdentity({ files, statePath, configPaths }: IdentityDeps): Promise<string | undefined> {
  const found = new Map<string, string>();
  for (const folder of new Set([...configPaths, statePath])) {
    const path = `${folder}/${FILE}`;
    const text = await files.readText(path, 4096);
    if (text === undefined) continue;
    const uuid = text.trim().toLowerCase();
    if (!isUuid(uuid)) throw new AgentError('node-identity-unreadable', `${path} does not hold one UUID: restore it from a backup; it is the id of this node in Nova and Placement`);
    found.set(path, uuid);
  }
  if (new Set(found.values()).size > 1) {
    throw new AgentError('node-identity-conflict', `these files must hold the same UUID but differ: ${[...found.keys()].join(', ')}`);
  }
  return [...found.values()][0];
}

async function chooseIdentity(deps: IdentityDeps, context: RequestContext, service: NovaObjectOf<'Service'> | null): Promise<string> {
  if (service === null) return (deps.newUuid ?? randomUUID)();
  if (service.get('version') >= STABLE_IDENTITY) {
    throw new AgentError('node-identity-lost', `the cloud knows this host, but ${deps.statePath}/${FILE} is gone: put the uuid of its hypervisor there (openstack hypervisor list)`);
  }
  const nodes = await deps.conductor.computeNodes.byHost(context, deps.host);
  const [only] = nodes;
  if (only === undefined || nodes.length > 1) {
    throw new AgentError('node-identity-lost', `this host has ${nodes.length} node records and no ${deps.statePath}/${FILE}: put the uuid of the right one there, or delete the compute service first`);
  }
  return only.get('uuid');
}

async function writeIdentity(deps: IdentityDeps, uuid: string): Promise<string> {
  if (await deps.files.createExclusive(`${deps.statePath}/${FILE}`, `${uuid}\n`, 0o644)) {
    deps.log.info({ uuid }, 'node identity written');
    return uuid;
  }
  // Somebody was faster: what is written counts.
  return await readIdentity(deps) ?? uuid;
}

async function refuseRenamed({ conductor, host, node }: IdentityDeps, context: RequestContext, uuid: string): Promise<void> {
  const [row] = await conductor.computeNodes.byUuids(context, [uuid]);
  if (row !== undefined && (row.get('host') !== host || row.get('hypervisor_hostname') !== node)) {
    throw new AgentError('node-identity-renamed',
      `this node was ${row.get('host') ?? '?'} / ${row.get('hypervisor_hostname')} before and is ${host} / ${node} now: give it its old names again`);
  }
  if (row !== undefined || conductor.profile.hasStableNodeIdentity) return;
  // Zed finds its row by names: one with another uuid would get our guests and another provider than ours.
  const namesake = await conductor.computeNodes.byHostAndNodename(context, host, node);
  if (namesake !== null && namesake.get('uuid') !== uuid) {
    throw new AgentError('node-identity-conflict', `the cloud knows this node as ${namesake.get('uuid')}, but ${FILE} says ${uuid}: correct the file`);
  }
}
