/**
 * `[compute]provider_config_location`: what an operator adds to the inventories and traits of this node's provider (Nova's provider.yaml,
 * schema 1.0; nova-contract 8.2). Read once at start. What Nova would refuse to start with, we refuse to start with.
 */
import { CORE_SCHEMA, load } from 'js-yaml'; // the usual one, pure JavaScript; CORE_SCHEMA makes no types but JSON's
import { z } from 'zod';
import { AgentError } from '../../lib/errors.js';
import type { HostFiles } from '../../host/index.js';
import type { Logger } from '../../observe/index.js';
import type { Inventory } from '../../openstack/index.js';

export interface ProviderAdditions {
  readonly inventories: Readonly<Record<string, Inventory>>;
  readonly traits: readonly string[];
}

export const noAdditions: ProviderAdditions = { inventories: {}, traits: [] };

export interface ProviderConfigDeps {
  readonly files: Pick<HostFiles, 'list' | 'readText'>;
  readonly log: Logger;
  /** The folder; absent is fine. */
  readonly folder: string;
  /** This node's provider. */
  readonly uuid: string;
  readonly name: string;
}

const integer = z.number().int();
const custom = /^CUSTOM_[A-Z0-9_]{1,248}$/;
const inventory = z.strictObject({
  total: integer, reserved: integer.optional(), min_unit: integer.optional(), max_unit: integer.optional(), step_size: integer.optional(), allocation_ratio: z.number().optional(),
});
const classes = z.record(z.string(), inventory).refine((one) => Object.keys(one).every((name) => custom.test(name)), 'only custom resource classes (CUSTOM_…) are allowed');
const uuid = z.string().regex(/^(\$COMPUTE_NODE|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$/, 'a uuid, or $COMPUTE_NODE');
const provider = z.looseObject({
  identification: z.union([z.strictObject({ uuid }), z.strictObject({ name: z.string().min(1).max(200) })], 'exactly one of uuid and name'),
  inventories: z.looseObject({ additional: z.array(classes).optional() }).optional(),
  traits: z.looseObject({ additional: z.array(z.string().regex(custom, 'only custom traits (CUSTOM_…) are allowed')).optional() }).optional(),
});
const document = z.looseObject({
  meta: z.looseObject({ schema_version: z.string().regex(/^1\.([0-9]|[1-9][0-9]+)$/, "must be '1.0', in quotes") }),
  providers: z.array(provider).optional(),
});

type Provider = z.infer<typeof provider>;
interface Entry { readonly file: string; readonly id: string; readonly config: Provider }

const refuse = (message: string, cause?: unknown): AgentError => new AgentError('provider-config-invalid', message, cause === undefined ? {} : { cause });

/** What all `*.yaml` of the folder add to our provider. AgentError `provider-config-invalid` names file and place. */
export async function readProviderAdditions(deps: ProviderConfigDeps): Promise<ProviderAdditions> {
  const names = (await deps.files.list(deps.folder)).filter((name) => name.endsWith('.yaml') && !name.startsWith('.'));
  const entries: Entry[] = [];
  for (const file of names) {
    for (const entry of parseFile(file, (await deps.files.readText(`${deps.folder}/${file}`)) ?? '', deps.log)) {
      const other = entries.find(({ id }) => id === entry.id);
      if (other !== undefined) throw refuse(`provider ${entry.id} is defined twice, in ${other.file} and in ${file}: keep one of them`);
      entries.push(entry);
    }
  }
  return additionsOf(entries, deps);
}

function parseFile(file: string, text: string, log: Logger): Entry[] {
  let content: unknown;
  try {
    content = load(text, { schema: CORE_SCHEMA, filename: file });
  } catch (error) {
    throw refuse(`${file} is not valid YAML`, error);
  }
  const parsed = document.safeParse(content);
  if (!parsed.success) {
    throw refuse(`${file}: ${parsed.error.issues.map((issue) => `${issue.path.join('.') || 'the document'}: ${issue.message}`).join('; ')}`);
  }
  const { meta, providers = [] } = parsed.data;
  if (meta.schema_version !== '1.0') log.warn({ file, version: meta.schema_version }, 'provider configuration of a newer schema; some of it may be ignored');
  return providers.flatMap((config) => {
    const id = 'uuid' in config.identification ? config.identification.uuid : config.identification.name;
    if ((config.inventories?.additional ?? []).length > 0 || (config.traits?.additional ?? []).length > 0) return [{ file, id, config }];
    log.warn({ file, provider: id }, 'provider configuration adds nothing; ignored');
    return [];
  });
}

/** An entry that names our provider wins over `$COMPUTE_NODE`; two that do, one by uuid and one by name, contradict each other. */
function additionsOf(entries: readonly Entry[], { uuid: ours, name, log }: ProviderConfigDeps): ProviderAdditions {
  const named = entries.filter(({ id }) => id.toLowerCase() === ours || id === name);
  if (named.length > 1) throw refuse(`this node is named twice, by uuid and by name, in ${named.map(({ file }) => file).join(' and ')}: keep one of them`);
  for (const { id, file } of entries) {
    if (id !== '$COMPUTE_NODE' && named[0]?.id !== id) log.warn({ provider: id, file }, 'provider of the configuration is not of this node; ignored');
  }
  const found = named[0] ?? entries.find(({ id }) => id === '$COMPUTE_NODE');
  if (found === undefined) return noAdditions;
  const given = (found.config.inventories?.additional ?? []).flatMap((one) => Object.entries(one));
  log.info({ file: found.file, classes: given.map(([resourceClass]) => resourceClass), traits: found.config.traits?.additional ?? [] }, 'provider configuration read');
  // Placement's own defaults for what is left out.
  const whole = { reserved: 0, min_unit: 1, max_unit: 2_147_483_647, step_size: 1, allocation_ratio: 1 };
  return { inventories: Object.fromEntries(given.map(([resourceClass, values]) => [resourceClass, { ...whole, ...values } as Inventory])), traits: found.config.traits?.additional ?? [] };
}
