import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { abilities, methodRegistry } from '../../src/compute/index.js';

const file = resolve(import.meta.dirname, '../../README.md');

const inWords = { works: 'works', refused: 'refused', 'needs-host-feature': 'needs host feature' } as const;
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((row) => `| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`).join('\n');

const generated: Readonly<Record<string, string>> = {
  abilities: table(['what', 'state', ''], abilities().map(({ what, availability: { status, reason } }) => [what, inWords[status], reason ?? ''])),
  methods: table(['RPC method', 'state', ''], methodRegistry().map(({ method, status, reason }) => [`\`${method}\``, inWords[status], reason ?? ''])),
};

test('the tables of README.md are those that the registry makes (npm run vitest -- test/unit/readme.test.ts --update)', async () => {
  const text = readFileSync(file, 'utf8');
  const places = [...text.matchAll(/<!-- generated: (\w+) -->/g)].map((match) => match[1]);
  expect(places).toEqual(Object.keys(generated));
  const made = text.replaceAll(/(<!-- generated: (\w+) -->\n)[^]*?(<!-- end -->)/g, (_all, head: string, name: string, tail: string) => `${head}\n${generated[name]!}\n\n${tail}`);
  await expect(made).toMatchFileSnapshot(file);
});
