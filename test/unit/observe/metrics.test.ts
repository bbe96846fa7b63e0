import { readFileSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import { createMetrics } from '../../../src/observe/index.js';
import { metricDefinitions } from '../../../src/observe/metric-names.js';

const root = resolve(import.meta.dirname, '../../../src');
const sources = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts')).map((name) => ({ name, text: readFileSync(join(root, name), 'utf8') }));
const types = { count: 'counter', gauge: 'gauge', observe: 'histogram' } as const;

test('every metric that the code uses is in the list, with the type that it is used as; and every one in the list is used', () => {
  const used = sources.flatMap(({ name, text }) => [...text.matchAll(/\.(count|gauge|observe)\(\s*'([^']+)'/g)].map((match) => ({ name, as: types[match[1] as keyof typeof types], metric: match[2]! })));
  expect(used.filter(({ metric, as }) => metricDefinitions[metric]?.type !== as)).toEqual([]);
  const names = new Set(used.map(({ metric }) => metric));
  expect(Object.keys(metricDefinitions).filter((metric) => !names.has(metric) && metric !== 'agent_metrics_unknown_total')).toEqual([]);
});

test('names are agent_<noun>_<unit> and no label is an id', () => {
  for (const [name, { labels }] of Object.entries(metricDefinitions)) {
    expect(name).toMatch(/^agent_[a-z0-9_]+$/);
    expect(labels ?? []).not.toEqual(expect.arrayContaining(['uuid']));
    expect((labels ?? []).length).toBeLessThanOrEqual(2);
  }
});

test('values come out in Prometheus\' text', async () => {
  const { metrics, text, contentType } = createMetrics({ hasProcessMetrics: false });
  metrics.count('agent_rpc_messages_total');
  metrics.count('agent_rpc_messages_total', {}, 2);
  metrics.gauge('agent_rpc_in_flight', 4);
  metrics.observe('agent_operation_seconds', 1.2, { rpc: 'stop_instance', outcome: 'succeeded' });
  const page = await text();
  expect(page).toContain('agent_rpc_messages_total 3');
  expect(page).toContain('agent_rpc_in_flight 4');
  expect(page).toContain('agent_operation_seconds_bucket{le="2.5",rpc="stop_instance",outcome="succeeded"} 1');
  expect(contentType).toMatch(/^text\/plain/);
});

test('a wrong name or label is counted and stops nothing', async () => {
  const { metrics, text } = createMetrics({ hasProcessMetrics: false });
  metrics.count('agent_nonsense');
  metrics.gauge('agent_rpc_in_flight', 1, { wrong: 'x' });
  metrics.observe('agent_rpc_in_flight', 1);
  expect(await text()).toContain('agent_metrics_unknown_total 3');
});

test('the process\' own memory and event loop are there too', async () => {
  const page = await createMetrics().text();
  expect(page).toContain('process_resident_memory_bytes');
  expect(page).toContain('nodejs_eventloop_lag_seconds');
});
