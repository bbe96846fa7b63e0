/** The two services that are compared, as processes: ours on a null node, and Debian's nova-compute with Nova's fake driver. */
import { dirname, join } from 'node:path';
import { createDaemons, login, novaShared, renderIni, secretsOf, transportUrl, address, writeIfChanged, type Daemons, type DaemonSpec, type Layout } from '../cloud/control-plane/index.js';
import { agentConfiguration, agentProgram } from '../cloud/support/agent.js';
import type { NullNode } from './null-node.js';

export interface Contender {
  readonly name: 'ours' | 'peer';
  /** Nova's name of its host. */
  readonly host: string;
  start(): void;
  /** In good order; its guests live on. */
  stop(): Promise<void>;
  isRunning(): boolean;
  /** Throws with the end of its log if it does not run. */
  pid(): number;
}

function contender(name: Contender['name'], daemons: Daemons, spec: DaemonSpec): Contender {
  return {
    name, host: spec.name,
    start: () => void daemons.start(spec),
    stop: async () => void (await daemons.stop(spec.name, 30_000)),
    isRunning: () => daemons.pid(spec.name) !== null,
    pid: () => {
      const pid = daemons.pid(spec.name);
      if (pid === null) throw new Error(`${spec.name} has ended; the end of ${daemons.logOf(spec.name)}:\n${daemons.tail(spec.name, 30)}`);
      return pid;
    },
  };
}

export const benchDaemons = ({ run, logs }: Pick<Layout, 'run' | 'logs'>): Daemons => createDaemons({ run, logs, leaderOnly: true });

/** Ports of its own, away from the lab's node and from the control plane's. */
const httpPort = 9890;
const vncPorts = { vnc_port_min: 21_000, vnc_port_max: 21_999 };

/** The options in which the agent of a null node differs from a lab node's. */
export function nullNodeOptions(): Parameters<typeof agentConfiguration>[1] {
  return {
    DEFAULT: { debug: false, reserved_host_memory_mb: 0, max_concurrent_builds: 10 },
    agent: { http_port: httpPort },
    bhyve: vncPorts,
    l2_agent: { enabled: false },
  };
}

/** The program is started by its first line, as from the package, so that it has the options that are in it. */
export const agentEnv = (node: NullNode): Record<string, string> => ({ ...node.env as Record<string, string>, PATH: `${node.env['PATH'] ?? ''}:${dirname(process.execPath)}` });

export function ours(layout: Layout, node: NullNode): Contender {
  const configFile = join(node.path, 'etc/nova-bhyve.conf');
  writeIfChanged(configFile, renderIni(agentConfiguration(node, nullNodeOptions())));
  return contender('ours', benchDaemons(layout), {
    name: node.name, argv: [agentProgram, 'run', '--config-file', configFile], env: agentEnv(node), cwd: node.path,
  });
}

const startNova = 'import sys; sys.argv[0] = "nova-compute"; from nova.cmd.compute import main; sys.exit(main())';

/** The package python3-nova has all of nova-compute but its three-line script, which only comes with a hypervisor. */
export function peer(layout: Layout, name: string): Contender {
  const secrets = secretsOf(layout);
  const state = join(layout.root, 'bench', name);
  const configFile = join(state, 'nova.conf');
  const shared = novaShared(layout, secrets);
  writeIfChanged(configFile, renderIni({
    ...shared,
    DEFAULT: {
      host: name, state_path: state, transport_url: transportUrl(secrets), my_ip: address, compute_driver: 'fake.FakeDriver', report_interval: 10, periodic_fuzzy_delay: 0,
      use_stderr: true,
    },
    oslo_concurrency: { lock_path: join(state, 'lock') },
    cinder: login(secrets, 'nova'),
  }));
  return contender('peer', benchDaemons(layout), { name, argv: ['/usr/bin/python3', '-c', startNova, '--config-file', configFile], cwd: state });
}
