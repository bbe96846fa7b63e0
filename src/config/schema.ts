/** The whole table. The sample file, the documentation and the types are made from it. */
import type { SectionSchema, SectionValues } from './option.js';
import * as compute from './schema-compute.js';
import * as ours from './schema-ours.js';
import * as services from './schema-services.js';

/** Section → option → row. The order is that of the sample. */
export const schema = {
  DEFAULT: compute.defaultSection,
  agent: ours.agentSection,
  bhyve: ours.bhyveSection,
  zfs: ours.zfsSection,
  l2_agent: ours.l2AgentSection,
  migration: ours.migrationSection,
  checkpoint: ours.checkpointSection,
  placement: services.placementSection,
  neutron: services.neutronSection,
  glance: services.glanceSection,
  cinder: services.cinderSection,
  service_user: services.serviceUserSection,
  vnc: compute.vncSection,
  serial_console: compute.serialConsoleSection,
  consoleauth: compute.consoleauthSection,
  compute: compute.computeSection,
  image_cache: compute.imageCacheSection,
  scheduler: compute.schedulerSection,
  filter_scheduler: compute.filterSchedulerSection,
  workarounds: compute.workaroundsSection,
  api: compute.apiSection,
  vendordata_dynamic_auth: services.vendordataDynamicAuthSection,
  oslo_messaging_rabbit: services.rabbitSection,
  oslo_messaging_notifications: services.messagingNotificationsSection,
  notifications: services.notificationsSection,
} satisfies Readonly<Record<string, SectionSchema>>;

export type SectionName = keyof typeof schema;

/** All options with their exact ini names: `config.DEFAULT.host`, `config.agent.device_root`. */
export type Config = { readonly [Section in SectionName]: SectionValues<(typeof schema)[Section]> };

/** Sections in which an unknown option is an error, because nobody else reads them. */
export const ourSections: ReadonlySet<string> = new Set(['agent', 'bhyve', 'zfs', 'l2_agent', 'migration', 'checkpoint']);

/** The table seen without its types, for code that walks over it. */
export const sectionsOf = (): ReadonlyMap<string, SectionSchema> => new Map(Object.entries(schema));

/** `section.option` of everything that must never be shown. */
export const secretOptions: readonly string[] = [...sectionsOf()].flatMap(([section, options]) =>
  Object.entries(options).filter(([, option]) => option.isSecret).map(([name]) => `${section}.${name}`));
