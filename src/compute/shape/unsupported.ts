/**
 * Whether this host can give what flavor and image ask of a machine: asked at claim time by everything that makes or changes one, so that nothing
 * that was asked for is silently left out (nova-contract 9, 17). Pure.
 */
import type { NovaObjectOf } from '../../objects/index.js';
import type { HostCapabilities } from '../../virt/index.js';
import type { ImageProperties } from './image-properties.js';
import { guestLimits, hasLimits } from './limits.js';
import { extraSpecRules, machineRules, type Rule, type RuleFacts } from './rules.js';
import { whyNotSuspendable } from './suspendable.js';
import { chooseTopology } from './topology.js';

export interface MachineRequest {
  readonly flavor: NovaObjectOf<'Flavor'>;
  /** As `normalProperties` or `imagePropertiesOf` give them. */
  readonly properties: ImageProperties;
  readonly capabilities: HostCapabilities;
  readonly hasScreens: boolean;
  /** Buses that the user chose for single disks. */
  readonly diskBuses?: readonly (string | null)[];
}

/** A sentence naming the first thing that this host cannot give; null when it can give all. */
export function unsupportedMachine(request: MachineRequest): string | null {
  const { flavor, properties, capabilities } = request;
  const extraSpecs = flavor.maybe('extra_specs') ?? {};
  const vcpus = flavor.get('vcpus');
  if (vcpus > capabilities.maxVcpusPerGuest) return `the flavor wants ${vcpus} vCPUs; a guest on this host can have ${capabilities.maxVcpusPerGuest}`;
  for (const [name, value] of Object.entries(properties)) {
    const reason = judge('image property', name, value, ruleOfProperty(name), request);
    if (reason !== null) return reason;
  }
  for (const [name, value] of Object.entries(extraSpecs)) {
    const reason = judge('flavor extra spec', name, value, ruleOfExtraSpec(name), request);
    if (reason !== null) return reason;
  }
  const unsuspendable = whyNotSuspendable(extraSpecs, [properties['bhyve_disk_bus'] ?? properties['hw_disk_bus'], ...(request.diskBuses ?? [])], capabilities);
  if (unsuspendable !== null) return unsuspendable;
  const topology = chooseTopology({ vcpus, extraSpecs, properties });
  if (typeof topology === 'string') return topology;
  const limits = guestLimits(extraSpecs, vcpus);
  if (typeof limits === 'string') return limits;
  return hasLimits(limits) && !capabilities.hasResourceLimits
    ? 'the flavor has quotas; this host cannot hold guests to them (kern.racct.enable=1 in loader.conf would let it)'
    : null;
}

const ruleOfProperty = (name: string): Rule | undefined => machineRules[name] ?? (name.startsWith('hw_') ? unknown : undefined);
const unknown: Rule = () => '';

function ruleOfExtraSpec(name: string): Rule | undefined {
  if (!name.startsWith('hw:')) return extraSpecRules[name];
  return ruleOfProperty(`hw_${name.slice('hw:'.length)}`);
}

function judge(what: string, name: string, value: string, rule: Rule | undefined, facts: RuleFacts): string | null {
  const instead = rule?.(value, facts) ?? null;
  if (instead === null) return null;
  return `${what} ${name}=${value} is not supported by this host${instead === '' ? '' : ` (it has: ${instead})`}`;
}
