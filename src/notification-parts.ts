/** Notifications from the configuration: the drivers of `[oslo_messaging_notifications]`, and what they need from the other parts. */
import { createNotifications, guestName, noNotifications, type Notifications } from './compute/index.js';
import type { Conductor } from './conductor/index.js';
import type { Config } from './config/index.js';
import { lastCompletedPeriod } from './lib/audit-period.js';
import { systemClock } from './lib/clock.js';
import { parseInstanceUuid } from './lib/ids.js';
import type { Logger, Metrics } from './observe/index.js';
import { brokerRetryOf, brokerTlsOf, topologyOf } from './options.js';
import { openNotifier, type Notification, type Notifier } from './rpc/index.js';

/** One notifier a driver; none when notifications are off. */
export function openNotifiers(config: Config, log: Logger, metrics: Metrics): readonly Notifier[] {
  const { DEFAULT: main, oslo_messaging_rabbit: rabbit, oslo_messaging_notifications: notifications } = config;
  return notifications.driver.filter((driver) => driver !== 'noop').map((driver): Notifier => {
    if (driver === 'log') return logNotifier(log);
    return openNotifier({
      transportUrl: notifications.transport_url ?? main.transport_url, clock: systemClock, log, metrics, exchange: main.control_exchange, topology: topologyOf(rabbit),
      tls: brokerTlsOf(rabbit), retry: brokerRetryOf(rabbit), loginMethod: rabbit.rabbit_login_method, heartbeatSeconds: rabbit.heartbeat_timeout_threshold,
      hasEnvelope: driver === 'messagingv2',
    });
  });
}

const logNotifier = (log: Logger): Notifier => ({
  send: ({ context: _context, ...notification }) => log.info({ notification }, 'notification'),
  close: async () => undefined,
});

export interface NotificationParts {
  readonly notifiers: readonly Notifier[];
  readonly conductor: Conductor;
  /** Base URL of Glance, from the configuration or the catalogue. */
  readonly glanceUrl: () => Promise<string>;
}

export function makeNotifications(config: Config, { notifiers, conductor, glanceUrl }: NotificationParts, log: Logger): Notifications {
  if (notifiers.length === 0) return noNotifications;
  const { DEFAULT: main, notifications, oslo_messaging_notifications: messaging } = config;
  return createNotifications({
    log,
    send: (notification: Notification) => notifiers.forEach((notifier) => notifier.send(notification)),
    options: {
      host: main.host, format: notifications.notification_format, topics: messaging.topics, versionedTopics: notifications.versioned_notifications_topics,
      hasBlockDevices: notifications.bdms_in_notifications,
    },
    currentPeriod: () => ({ begin: lastCompletedPeriod(main.instance_usage_audit_period, systemClock.now()).end, end: systemClock.now() }),
    load: (context, instance, attributes) => conductor.instances.load(context, instance, attributes),
    blockDevices: async (context, instance) =>
      (await conductor.blockDevices.byInstance(context, parseInstanceUuid(instance.get('uuid')))).map((device) => device.toWire()['nova_object.data']),
    imageUrl: async (image) => {
      try {
        return `${await glanceUrl()}/images/${image}`;
      } catch (err) {
        log.debug({ err }, 'Glance not found; the image is told by its id');
        return image;
      }
    },
    instanceName: (instance) => guestName(main.instance_name_template, instance.get('id'), instance.get('uuid')),
    hasShares: () => conductor.profile.serviceVersion >= 68,
  });
}
