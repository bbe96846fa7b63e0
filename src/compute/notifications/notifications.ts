/**
 * Notifications about what is done to instances, for billing, Ceilometer, Searchlight and the like (nova-contract 5.2 X, 6). Off unless
 * `[oslo_messaging_notifications]driver` names one; then nothing of this costs anything. They tell of an operation and never change it: what
 * cannot be told is logged and left out. Changes of state (`compute.instance.update`) come from the conductor, which saves the row for us.
 *
 *   perform ─▶ notified ─▶ <event>.start ─▶ the operation ─┬─▶ <event>.end
 *                                                          └─▶ <event>.error, where Nova has one, and the exception
 */
import { wireFaultOf } from '../../lib/errors.js';
import { parseInstanceUuid } from '../../lib/ids.js';
import { toNovaMicroTime, toNovaTime } from '../../objects/index.js';
import { createRedactor, type Logger } from '../../observe/index.js';
import type { RequestContext } from '../../rpc/context.js';
import type { Notification } from '../../rpc/index.js';
import { faultText } from '../error-text.js';
import type { AuditPeriod } from '../../lib/audit-period.js';
import { usageAfterStart, usageFirst, type EventNames } from './events.js';
import { factsOf, membersOf, neededAttributes, wireData, type Data, type Instance } from './facts.js';
import { legacyPayload } from './legacy-payload.js';
import { exceptionPayload, existsPayload, versionedPayload, volumeOf, type VersionedFacts } from './versioned-payload.js';

export type Phase = 'start' | 'end' | 'error';

/** What an operation was asked. */
export interface Subject {
  readonly rpc: string;
  readonly context: RequestContext;
  readonly args: Data;
}

export interface Notifications {
  readonly isOn: boolean;
  /** About an instance; `error` belongs to the phase `error`. Never throws. */
  instance(subject: Subject, instance: Instance, event: EventNames, phase: Phase, error?: unknown): Promise<void>;
  /**
   * What there was of an instance in a period, for billing; without one: since the newest that is over. Whether it could be told. Never throws.
   */
  exists(subject: Subject, instance: Instance, period?: AuditPeriod): Promise<boolean>;
  /** An RPC method ended with an exception. Never throws. */
  exception(subject: Subject, error: unknown): void;
}

export const noNotifications: Notifications = { isOn: false, instance: async () => undefined, exists: async () => true, exception: () => undefined };

export interface NotificationDeps {
  readonly send: (notification: Notification) => void;
  readonly log: Logger;
  readonly options: {
    readonly host: string;
    readonly format: 'unversioned' | 'versioned' | 'both';
    readonly topics: readonly string[];
    readonly versionedTopics: readonly string[];
    /** `[notifications]bdms_in_notifications` */
    readonly hasBlockDevices: boolean;
  };
  /** The audit period that has begun and is not over. */
  readonly currentPeriod: () => AuditPeriod;
  /** Reads what is missing in an instance that came without it. */
  readonly load: (context: RequestContext, instance: Instance, attributes: readonly string[]) => Promise<void>;
  readonly blockDevices: (context: RequestContext, instance: Instance) => Promise<readonly Data[]>;
  /** Where the image is; null when Glance cannot be found. */
  readonly imageUrl: (image: string) => Promise<string | null>;
  readonly instanceName: (instance: Instance) => string;
  /** Payloads of 2025.1 and later tell of shares. */
  readonly hasShares: () => boolean;
}

export function createNotifications(deps: NotificationDeps): Notifications {
  const { log, options } = deps;
  const hasLegacy = options.format !== 'versioned';
  const hasVersioned = options.format !== 'unversioned';
  const redactor = createRedactor();

  function sendLegacy({ context }: Subject, eventType: string, isError: boolean, payload: unknown): void {
    deps.send({ topics: options.topics, publisherId: `compute.${options.host}`, eventType, priority: isError ? 'error' : 'info', payload, context });
  }

  function sendVersioned({ context }: Subject, eventType: string, isError: boolean, payload: unknown): void {
    deps.send({ topics: options.versionedTopics, publisherId: `nova-compute:${options.host}`, eventType, priority: isError ? 'error' : 'info', payload, context });
  }

  async function legacy(subject: Subject, instance: Instance, event: EventNames, phase: Phase, error: unknown): Promise<void> {
    if (event.legacy === null || (event.isLegacyOnce === true && phase !== 'end')) return;
    const image = instance.maybe('image_ref') ?? '';
    const more = { ...extrasOf(subject, event, phase), ...(phase === 'error' ? faultExtras(error) : {}) };
    const payload = legacyPayload(factsOf(instance), { imageUrl: await deps.imageUrl(image), hasAddresses: phase === 'end' && withAddresses.has(event.legacy), more });
    sendLegacy(subject, `compute.instance.${event.legacy}${event.isLegacyOnce === true ? '' : `.${phase}`}`, phase === 'error', payload);
  }

  const factsFor = ({ context, args }: Subject, instance: Instance, more: Pick<VersionedFacts, 'fault' | 'blockDevices'>): VersionedFacts => ({
    facts: factsOf(instance), request: { id: context.requestId, userId: context.userId, projectId: context.projectId }, hasShares: deps.hasShares(),
    instanceName: deps.instanceName(instance), args, ...more,
  });

  async function versioned(subject: Subject, instance: Instance, event: EventNames, phase: Phase, error: unknown): Promise<void> {
    const { context } = subject;
    const given = subject.args['block_device_mapping'] ?? subject.args['bdms'] ?? null;
    const blockDevices = event.payload === 'create' || event.action === 'delete' || event.action === 'shutdown' ? membersOf(given)
      : options.hasBlockDevices ? await deps.blockDevices(context, instance) : null;
    const fault = phase === 'error' ? exceptionPayload(subject.rpc, describe(error)) : null;
    sendVersioned(subject, `instance.${event.action}.${phase}`, phase === 'error', versionedPayload(event.payload ?? 'action', factsFor(subject, instance, { fault, blockDevices })));
  }

  /** A rebuild tells of the image that was there until now, in the old form only, as Nova does. */
  async function legacyExists(subject: Subject, instance: Instance, period: AuditPeriod): Promise<void> {
    const { orig_image_ref: image, orig_sys_metadata: before } = subject.rpc === 'rebuild_instance' ? subject.args : {};
    const facts = factsOf(instance);
    const systemMetadata = before === undefined || before === null ? facts.systemMetadata : (before as Record<string, string>);
    const more = { audit_period_beginning: pythonTime(period.begin), audit_period_ending: pythonTime(period.end) };
    const imageUrl = await deps.imageUrl(typeof image === 'string' ? image : instance.maybe('image_ref') ?? '');
    sendLegacy(subject, 'compute.instance.exists', false, legacyPayload({ ...facts, systemMetadata }, { imageUrl, hasAddresses: false, more }));
  }

  async function versionedExists(subject: Subject, instance: Instance, period: AuditPeriod): Promise<void> {
    const blockDevices = options.hasBlockDevices ? await deps.blockDevices(subject.context, instance) : null;
    const payload = existsPayload(factsFor(subject, instance, { fault: null, blockDevices }), { begin: toNovaTime(period.begin), end: toNovaTime(period.end) });
    sendVersioned(subject, 'instance.exists', false, payload);
  }

  return {
    isOn: true,
    async instance(subject, instance, event, phase, error) {
      const uuid = parseInstanceUuid(instance.get('uuid'));
      try {
        await deps.load(subject.context, instance, event.payload === 'create' ? [...neededAttributes, 'keypairs', 'tags', 'trusted_certs'] : neededAttributes);
        if (hasLegacy) await legacy(subject, instance, event, phase, error);
        if (hasVersioned) await versioned(subject, instance, event, phase, error);
      } catch (err) {
        log.warn({ err, instance: uuid, event: event.action, phase }, 'notification left out');
      }
    },
    async exists(subject, instance, period = deps.currentPeriod()) {
      const uuid = parseInstanceUuid(instance.get('uuid'));
      try {
        await deps.load(subject.context, instance, neededAttributes);
        if (hasLegacy) await legacyExists(subject, instance, period);
        if (hasVersioned) await versionedExists(subject, instance, period);
        return true;
      } catch (err) {
        log.warn({ err, instance: uuid, event: 'exists' }, 'notification left out');
        return false;
      }
    },
    exception(subject, error) {
      const fault = describe(error);
      if (hasLegacy) sendLegacy(subject, subject.rpc, true, { exception: fault.message, args: withoutPasswords(subject.args, (value) => redactor.value(value)) });
      if (hasVersioned) sendVersioned(subject, 'compute.exception', true, exceptionPayload(subject.rpc, fault));
    },
  };
}

/** Old notifications that name the addresses too. */
const withAddresses: ReadonlySet<string> = new Set(['create', 'finish_resize', 'rescue', 'unrescue', 'rebuild']);

/** As str() of a datetime without a zone has it. */
const pythonTime = (time: Date): string => toNovaMicroTime(time).replace('T', ' ').replace('.000000', '');

/** What an old notification tells beside the instance. */
function extrasOf({ args }: Subject, event: EventNames, phase: Phase): Data {
  const image = (args['image'] ?? {}) as Data;
  switch (event.legacy) {
    case 'create': return phase === 'start' ? { image_name: image['name'] ?? '' } : phase === 'end' ? { message: 'Success' } : {};
    case 'resize.prep': return phase === 'end' ? { new_instance_type: wireData(args['flavor'])['name'], new_instance_type_id: wireData(args['flavor'])['id'] } : {};
    case 'volume.attach': case 'volume.detach': return { volume_id: volumeOf(args) };
    default: return {};
  }
}

function faultExtras(error: unknown): Data {
  const { code, message } = faultText(error);
  return { exception: message, message, code };
}

const describe = (error: unknown): { className: string; message: string } => ({ className: wireFaultOf(error)?.className ?? 'NovaException', message: faultText(error).message });

/** As Nova strips them (`_pass` in a key), and whatever else we never log. */
function withoutPasswords(args: Data, hide: (value: unknown) => unknown): unknown {
  return hide(Object.fromEntries(Object.entries(args).filter(([name]) => !name.includes('_pass'))));
}

/** Runs `body` between the notifications of these events; rethrows what it threw. With notifications off it is `body` alone. */
export async function notified<T>(notifications: Notifications, subject: Subject, instance: Instance, events: readonly EventNames[], body: () => Promise<T>): Promise<T> {
  if (!notifications.isOn) return body();
  if (usageFirst.has(subject.rpc)) await notifications.exists(subject, instance);
  for (const event of events) await notifications.instance(subject, instance, event, 'start');
  if (usageAfterStart.has(subject.rpc)) await notifications.exists(subject, instance);
  try {
    const result = await body();
    for (const event of [...events].reverse()) await notifications.instance(subject, instance, event, 'end');
    return result;
  } catch (error) {
    for (const event of events.filter(({ hasError }) => hasError === true)) await notifications.instance(subject, instance, event, 'error', error);
    throw error;
  }
}
