/** What the operator's read-only commands see: the node's own parts, and the bus and Keystone on demand. */
import type { NodeView } from './cli/index.js';
import type { Config } from './config/index.js';
import { readJournal } from './journal/index.js';
import { systemClock, withTimeout } from './lib/clock.js';
import { createPlugger } from './network/index.js';
import { createLogger, createMetrics } from './observe/index.js';
import { createSession } from './openstack/index.js';
import { authOf, tlsOf } from './options.js';
import { makeCloud, makeNode } from './parts.js';
import { lookAtScreenTls } from './screen-files.js';

const clock = systemClock;
const reachLimitMs = 15_000;

/** Opens nothing but what the commands ask for; logs nothing, because the commands' answers are for people. */
export async function openNodeView(config: Config): Promise<NodeView> {
  const { log } = createLogger({ level: 'silent', file: null, secrets: [] });
  const { metrics } = createMetrics({ hasProcessMetrics: false });
  const { host, driver, storage, selfTest } = makeNode(config, log, metrics);
  const plugger = createPlugger({ host, l2: null, clock, log, bridgeMappings: config.l2_agent.bridge_mappings, interfaceMappings: config.l2_agent.interface_mappings });
  return {
    host, driver, storage, plugger, selfTest,
    readJournal: () => readJournal(`${config.DEFAULT.state_path}/journal`),
    screenTls: () => lookAtScreenTls(config, host.files, clock),
    reach: {
      async broker() {
        const controller = new AbortController();
        const cloud = makeCloud(config, log, metrics, controller.signal);
        try {
          await withTimeout(clock, reachLimitMs, 'connecting to the message bus', (signal) => cloud.rpc.connected(signal));
          return 'connected';
        } finally {
          controller.abort();
          await cloud.close();
        }
      },
      async keystone() {
        const session = createSession({ section: 'placement', auth: authOf(config.placement, 'placement'), tls: tlsOf(config.placement), clock, log });
        try {
          await withTimeout(clock, reachLimitMs, 'logging in to Keystone', (signal) => session.token(signal));
          return 'logged in';
        } finally {
          session.close();
        }
      },
    },
    close: () => driver.close(),
  };
}
