/** The arguments of build_and_run_instance, read once. */
import { z } from 'zod';
import { AgentError } from '../../lib/errors.js';
import { novaFaults } from '../../lib/nova-faults.js';
import { parseOptionalArgument } from '../../objects/index.js';
import { anything, instanceArgument } from '../operation.js';

const optionalObject = <Name extends Parameters<typeof parseOptionalArgument>[0]>(name: Name) =>
  z.unknown().transform((value) => parseOptionalArgument(name, value));

/** `image` is Glance's answer as a plain dictionary; the fields that matter are read from Glance again. */
export const imageArgument = z.looseObject({ id: z.string().optional(), properties: z.record(z.string(), z.unknown()).optional() });

const filterProperties = z.looseObject({ retry: z.looseObject({ num_attempts: z.number().optional() }).nullish() });

export const buildArguments = z.looseObject({
  instance: instanceArgument,
  image: imageArgument.nullish(),
  request_spec: optionalObject('RequestSpec'),
  filter_properties: filterProperties.nullish(),
  admin_password: z.string().nullish(),
  injected_files: z.array(z.tuple([z.string(), z.string()])).nullish(),
  requested_networks: optionalObject('NetworkRequestList'),
  security_groups: z.array(z.unknown()).nullish(),
  block_device_mapping: optionalObject('BlockDeviceMappingList'),
  node: z.string().nullish(),
  limits: anything,
  host_list: z.array(z.unknown()).nullish(),
  accel_uuids: z.array(z.unknown()).nullish(),
});
export type BuildArguments = z.infer<typeof buildArguments>;

const base64 = /^[A-Za-z0-9+/\s]*={0,2}\s*$/;

/** Decodes [path, base64] pairs; AgentError `bad-injected-file` for what is not base64. */
export function decodeFiles(files: BuildArguments['injected_files']): (readonly [string, Uint8Array])[] {
  return (files ?? []).map(([path, text]) => {
    if (!base64.test(text)) {
      throw new AgentError('bad-injected-file', 'an injected file is not base64', { wire: novaFaults.invalidInput('an injected file is not base64') });
    }
    return [path, Buffer.from(text, 'base64')] as const;
  });
}

/** Names or ids of the requested security groups. */
export const securityGroupNames = (groups: BuildArguments['security_groups']): string[] =>
  (groups ?? []).filter((group): group is string => typeof group === 'string');

/** An image's properties as Nova keeps them: text. */
export const textProperties = (properties: Readonly<Record<string, unknown>> | undefined): Record<string, string> =>
  Object.fromEntries(Object.entries(properties ?? {}).filter(([, value]) => value !== null).map(([key, value]) => [key, String(value as string)]));
