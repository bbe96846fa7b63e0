/**
 * What the agent tells about itself: a log of one JSON object a line, metrics, and how it is.
 *
 *   log.info(fields, 'constant message') ─▶ pino ─▶ redactor (secretPaths, forms, own secrets) ─▶ stdout or file
 *   metrics.count/gauge/observe ─▶ registry ─▶ /metrics          health.report(part, ok, why) ─▶ /healthz /readyz
 *
 * Promises: no secret leaves, whoever logs what; nothing here stops the agent (a wrong metric name is counted, a failed request
 * of a monitor is logged). Levels and fields: src/README.md.
 */
export type * from './types.js';
export { createLogger, type LoggerHandle, type LoggerOptions, type LogLevel } from './logger.js';
export { createMetrics, type MetricsHandle } from './metrics.js';
export { createHealth, type Health, type HealthSummary } from './health.js';
export { startHealthServer, type HealthServer, type HealthServerOptions } from './health-server.js';
export { startLagMonitor, type LagOptions } from './lag-monitor.js';
export { createRedactor, secretPaths, type Redactor } from './redact.js';
export { serializeError } from './serialize-error.js';
