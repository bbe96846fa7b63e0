import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect, test } from 'vitest';

/** A folder may import only from itself and from folders above it in this list (src/README.md). */
const order = ['lib', 'config', 'observe', 'host', 'journal', 'rpc', 'objects', 'openstack', 'conductor', 'storage', 'network', 'volumes',
  'console', 'virt', 'instances', 'migration', 'compute', 'periodic', 'control', 'cli'];
const root = resolve(import.meta.dirname, '../../src');

function sources(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? sources(path) : path.endsWith('.ts') ? [path] : [];
  });
}

const importsOf = (text: string): string[] => [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1]!);

test('no folder of src imports from a folder below it, nor reaches past an index', () => {
  const wrong: string[] = [];
  for (const file of sources(root)) {
    const [folder] = relative(root, file).split('/');
    if (!relative(root, file).includes('/')) continue;
    expect(order, `${folder} is not a known folder`).toContain(folder);
    for (const target of importsOf(readFileSync(file, 'utf8'))) {
      if (!target.startsWith('.')) continue;
      const path = relative(root, resolve(dirname(file), target));
      const [other, ...rest] = path.split('/');
      if (other === folder) continue;
      if (!order.includes(other!) || order.indexOf(other!) > order.indexOf(folder!)) wrong.push(`${relative(root, file)} imports ${path}`);
      else if (other !== 'lib' && rest.join('/') !== 'index.js' && !(other === 'rpc' && rest.join('/') === 'context.js')) {
        wrong.push(`${relative(root, file)} reaches past the index of ${other}: ${path}`);
      }
    }
  }
  expect(wrong).toEqual([]);
});
