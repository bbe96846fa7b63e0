/** What both kinds of notification say of an instance, read leniently: a field that is not set is null. */
import { isNovaObject, type NovaObject, type NovaObjectOf } from '../../objects/index.js';

export type Instance = NovaObjectOf<'Instance'>;
export type Data = Readonly<Record<string, unknown>>;

/** One fixed address with its port. */
export interface FixedAddress { readonly vif: Data; readonly network: Data; readonly address: Data }

export interface InstanceFacts {
  readonly instance: Data;
  readonly flavor: Data;
  readonly metadata: Readonly<Record<string, string>>;
  readonly systemMetadata: Readonly<Record<string, string>>;
  readonly addresses: readonly FixedAddress[];
}

const records = (value: unknown): Data[] => (Array.isArray(value) ? value.filter((one): one is Data => typeof one === 'object' && one !== null) : []);
const record = (value: unknown): Data => (typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Data : {});

/** Attributes that the notifications need beside the row's columns. */
export const neededAttributes = ['flavor', 'metadata', 'system_metadata', 'info_cache'] as const;

export function factsOf(instance: Instance): InstanceFacts {
  const data = objectData(instance);
  const flavor = instance.maybe('flavor');
  return {
    instance: data, flavor: flavor === undefined ? {} : objectData(flavor),
    metadata: record(instance.maybe('metadata')) as Record<string, string>, systemMetadata: record(instance.maybe('system_metadata')) as Record<string, string>,
    addresses: addressesOf(instance),
  };
}

function addressesOf(instance: Instance): FixedAddress[] {
  const cache = instance.maybe('info_cache');
  const text = isNovaObject(cache) ? (cache).maybe('network_info') : null;
  if (typeof text !== 'string') return [];
  return records(JSON.parse(text)).flatMap((vif) => {
    const network = record(vif['network']);
    return records(network['subnets']).flatMap((subnet) => records(subnet['ips']).map((address) => ({ vif, network, address })));
  });
}

/** The fields of an object in wire form. */
const objectData = (object: NovaObject): Data => object.toWire()['nova_object.data'];

/** The fields of an object that came as it is on the wire. */
export const wireData = (object: unknown): Data => record(record(object)['nova_object.data']);

/** The same of the members of a list object. */
export const membersOf = (list: unknown): Data[] => records(wireData(list)['objects']).map(wireData);
