/** `nova-bhyve run`: one process from its configuration to its end, with logs, health and signals. */
import { secretValues } from './secret-values.js';
import { loadConfig, type LoadOptions } from './config/index.js';
import { AgentError } from './lib/errors.js';
import { systemClock } from './lib/clock.js';
import { createHealth, createLogger, createMetrics, startHealthServer, startLagMonitor, type Health, type Logger } from './observe/index.js';
import { startAgent, type AgentRun } from './run-agent.js';

const clock = systemClock;
const healthEveryMs = 1000;

type Parts = 'node' | 'broker' | 'cloud';

/** Runs until SIGTERM or SIGINT. Resolves with the exit code; the reason of a failed start is in the log and on standard error. */
export async function runService(options: Pick<LoadOptions, 'files' | 'dirs'>): Promise<number> {
  const { config, warnings, files } = loadConfig(options);
  const { agent, DEFAULT: main } = config;
  const logger = createLogger({
    level: agent.log_level ?? (main.debug ? 'debug' : 'info'), file: agent.log_file, secrets: secretValues(config), base: { host: main.host },
  });
  const { log } = logger;
  for (const warning of warnings) log.warn({ warning }, 'configuration');
  const handle = createMetrics({ hasProcessMetrics: true });
  const { metrics } = handle;
  const health: Health<Parts> = createHealth({ clock, parts: ['node', 'broker', 'cloud'], metrics });
  const ending = endOnSignals(log, () => logger.reopen());
  const pages = agent.http_port === 0 ? null : await startHealthServer({ bind: agent.http_bind, port: agent.http_port, health, metrics: handle, log });
  const lag = startLagMonitor({ clock, log, metrics });
  try {
    log.info({ pid: process.pid, node: process.version, files }, 'starting');
    const run = await startAgent({ config, configFiles: files, log, metrics, signal: ending });
    await watchHealth(run, health, ending);
    log.info('stopping');
    await run.stop();
    log.info('stopped');
    return 0;
  } catch (error) {
    if (ending.aborted) return 0;
    log.fatal({ err: error }, 'the agent cannot run');
    throw error;
  } finally {
    lag.stop();
    await pages?.close();
  }
}

/** The first signal asks for an orderly end; SIGHUP is newsyslog's. */
function endOnSignals(log: Logger, reopen: () => void): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      log.info({ signal }, 'asked to end');
      controller.abort(new AgentError('shutting-down', `ended by ${signal}`));
    });
  }
  process.on('SIGHUP', reopen);
  return controller.signal;
}

/** Returns when the signal fires. */
async function watchHealth(run: AgentRun, health: Health<Parts>, signal: AbortSignal): Promise<void> {
  health.report('node', true, 'prepared');
  health.report('cloud', true, 'joined');
  while (!signal.aborted) {
    const { connected, callable, reason } = run.rpcHealth();
    health.report('broker', connected, reason);
    health.report('callable', callable, reason);
    await clock.sleep(healthEveryMs, signal).catch(() => undefined); // the signal ends the loop
  }
}
