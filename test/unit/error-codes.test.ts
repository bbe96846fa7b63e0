import { readFileSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../../src');
const text = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts')).map((name) => readFileSync(join(root, name), 'utf8')).join('\n');
const page = readFileSync(join(root, 'README.md'), 'utf8').split('## Error codes')[1]!.split('## Decisions')[0]!;
const listed = new Set([...page.matchAll(/^\| ((?:`[a-z0-9-]+`(?:, )?)+) \|/gm)].flatMap(([, codes]) => [...codes!.matchAll(/`([a-z0-9-]+)`/g)].map(([, code]) => code!)));

test('every error code of the agent is explained in src/README.md', () => {
  const direct = [...text.matchAll(/new AgentError\(\s*'([a-z0-9-]+)'/g)].map(([, code]) => code!);
  const chosen = [...text.matchAll(/'((?:zfs|http)-[a-z-]+)'/g)].map(([, code]) => code!);
  expect([...new Set([...direct, ...chosen])].filter((code) => !listed.has(code)).sort()).toEqual([]);
});

test('src/README.md explains no code that is gone', () => {
  expect([...listed].filter((code) => !text.includes(`'${code}'`)).sort()).toEqual([]);
});
