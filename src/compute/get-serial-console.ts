import { z } from 'zod';
import { codeOf } from '../lib/errors.js';
import { parseInstanceUuid, type InstanceUuid } from '../lib/ids.js';
import { novaFaults, refuse } from '../lib/nova-faults.js';
import { vmStates } from '../objects/index.js';
import type { ComputeDeps } from './deps.js';
import { instanceArgument, type InstanceMethod, type Operation } from './operation.js';
import { questionWrappers } from './questions.js';

const args = z.looseObject({ instance: instanceArgument, console_type: z.string() });
type Args = z.infer<typeof args>;

/** A token and a port for nova-serialproxy (nova-contract 14); the port lets in only who has shown a token there. */
export const getSerialConsole: InstanceMethod<Args> = {
  kind: 'instance', rpc: 'get_serial_console', availability: { status: 'works', reason: 'with [serial_console]enabled' }, args, wrappers: questionWrappers, gate: null, isJournalled: false,
  run: openConsole,
};

async function openConsole({ args: { instance, console_type: consoleType }, context, deps }: Operation<Args>): Promise<unknown> {
  const { serial, consoleTokenTtlSeconds: ttlSeconds } = deps.options;
  if (serial === null) throw refuse(novaFaults.consoleTypeUnavailable(consoleType));
  if (consoleType !== 'serial') throw refuse(novaFaults.consoleTypeInvalid(consoleType));
  const uuid = parseInstanceUuid(instance.get('uuid'));
  const endpoint = await openPort(deps, uuid);
  if (endpoint === null) throw refuse(instance.get('vm_state') === vmStates.building ? novaFaults.instanceNotReady(uuid) : novaFaults.instanceNotFound(uuid));
  const token = await deps.conductor.consoleTokens.authorize(context, { consoleType, ...endpoint, instance: uuid, accessUrlBase: serial.baseUrl, ttlSeconds });
  return { ...endpoint, internal_access_path: null, token, access_url: `${serial.baseUrl}?token=${token}` };
}

async function openPort(deps: ComputeDeps, uuid: InstanceUuid): Promise<{ host: string; port: number } | null> {
  try {
    return await deps.driver.openSerialConsole(uuid);
  } catch (error) {
    if (codeOf(error) === 'no-console-port') throw refuse(novaFaults.socketPortRangeExhausted(deps.options.host));
    throw error;
  }
}
