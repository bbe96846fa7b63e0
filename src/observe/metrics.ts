/** The registry behind Metrics. prom-client: the usual one for Node, no dependencies to speak of. */
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { metricDefinitions } from './metric-names.js';
import type { Metrics } from './types.js';

export interface MetricsHandle {
  readonly metrics: Metrics;
  /** In Prometheus' text format. */
  readonly text: () => Promise<string>;
  readonly contentType: string;
}

const unknownName = 'agent_metrics_unknown_total';

/**
 * A name that is not in metric-names.ts counts in agent_metrics_unknown_total and is otherwise ignored: a metric must not stop a guest.
 * `hasProcessMetrics`: memory, CPU, event loop and garbage collection of the process as well (default true).
 */
export function createMetrics(options: { hasProcessMetrics?: boolean } = {}): MetricsHandle {
  const registry = new Registry();
  const counters = new Map<string, Counter>();
  const gauges = new Map<string, Gauge>();
  const histograms = new Map<string, Histogram>();
  for (const [name, definition] of Object.entries(metricDefinitions)) {
    const common = { name, help: definition.help, labelNames: [...(definition.labels ?? [])], registers: [registry] };
    if (definition.type === 'counter') counters.set(name, new Counter(common));
    else if (definition.type === 'gauge') gauges.set(name, new Gauge(common));
    else histograms.set(name, new Histogram({ ...common, buckets: [...(definition.buckets ?? [])] }));
  }
  if (options.hasProcessMetrics ?? true) collectDefaultMetrics({ register: registry });

  const record = (work: (() => void) | undefined): void => {
    try {
      if (work !== undefined) return work();
    } catch {
      // a label that the list does not have: counted below
    }
    counters.get(unknownName)?.inc();
  };
  const metrics: Metrics = {
    count(name, labels = {}, by = 1) {
      const counter = counters.get(name);
      record(counter && (() => counter.inc(labels, by)));
    },
    gauge(name, value, labels = {}) {
      const gauge = gauges.get(name);
      record(gauge && (() => gauge.set(labels, value)));
    },
    observe(name, seconds, labels = {}) {
      const histogram = histograms.get(name);
      record(histogram && (() => histogram.observe(labels, seconds)));
    },
  };
  return { metrics, text: () => registry.metrics(), contentType: registry.contentType };
}
