/** What we read of Neutron's answers. Unknown keys pass; a missing key that we need is AgentError `neutron-strange`. */
import { z } from 'zod';
import { AgentError } from '../../lib/errors.js';
import { isUuid, type PortId } from '../../lib/ids.js';

const portId = z.string().refine(isUuid).transform((id) => id as PortId);
const fixedIp = z.object({ subnet_id: z.string(), ip_address: z.string() });
const someObject = z.record(z.string(), z.unknown());
/** Neutron gives an empty value in several shapes. */
const objectOrNothing = z.union([someObject, z.literal(''), z.null()]).optional().transform((value) => (value === '' || value === null ? undefined : value));

export const PortRecord = z.looseObject({
  id: portId, network_id: z.string(), mac_address: z.string(), status: z.string(), admin_state_up: z.boolean(),
  device_id: z.string().nullish(), device_owner: z.string().nullish(), tenant_id: z.string(), fixed_ips: z.array(fixedIp).default([]),
  'binding:host_id': z.string().nullish(), 'binding:vif_type': z.string().nullish(), 'binding:vif_details': objectOrNothing,
  'binding:vnic_type': z.string().optional(), 'binding:profile': objectOrNothing,
  dns_name: z.string().nullish(), ip_allocation: z.string().nullish(), resource_request: z.unknown().optional(),
});
export type PortRecord = z.infer<typeof PortRecord>;

export const NetworkRecord = z.looseObject({
  id: z.string(), name: z.string().nullish(), tenant_id: z.string(), mtu: z.number().nullish(), shared: z.boolean().optional(),
  subnets: z.array(z.string()).optional(), port_security_enabled: z.boolean().nullish(), 'router:external': z.boolean().nullish(), dns_domain: z.string().nullish(),
});
export type NetworkRecord = z.infer<typeof NetworkRecord>;

export const SubnetRecord = z.looseObject({
  id: z.string(), network_id: z.string(), cidr: z.string(), gateway_ip: z.string().nullish(), enable_dhcp: z.boolean().optional(),
  ipv6_address_mode: z.string().nullish(), dns_nameservers: z.array(z.string()).default([]),
  host_routes: z.array(z.object({ destination: z.string(), nexthop: z.string() })).default([]),
});
export type SubnetRecord = z.infer<typeof SubnetRecord>;

export const ProviderRecord = z.looseObject({
  'provider:physical_network': z.string().nullish(), 'provider:network_type': z.string().nullish(),
  segments: z.array(z.looseObject({ 'provider:physical_network': z.string().nullish() })).optional(),
});

export const FloatingIpRecord = z.looseObject({ floating_ip_address: z.string() });
export const SecurityGroupRecord = z.looseObject({ id: z.string(), name: z.string() });

/** `body[key]`, checked. */
export function read<Schema extends z.ZodType>(body: unknown, key: string, schema: Schema): z.infer<Schema> {
  const value: unknown = typeof body === 'object' && body !== null ? (body as Record<string, unknown>)[key] : undefined;
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const where = result.error.issues[0]?.path.join('.') ?? '';
  throw new AgentError('neutron-strange', `Neutron's answer is not the ${key} that was asked for`, { retry: 'later', details: { key, where } });
}

/** The binding profile; {} when there is none. */
export const profileOf = (port: PortRecord): Record<string, unknown> => ({ ...(port['binding:profile'] ?? {}) });

/** Whether the port asks Placement for something (guaranteed bandwidth or packet rate), in either form of the API. */
export function hasResourceRequest(port: PortRecord): boolean {
  const request = port.resource_request;
  if (typeof request !== 'object' || request === null) return false;
  if ('request_groups' in request) return Array.isArray(request.request_groups) && request.request_groups.length > 0;
  return Object.keys(request).length > 0;
}
