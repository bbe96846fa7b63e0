import { expect, test } from 'vitest';
import { readVendorData } from '../../src/vendor-data.js';
import type { Config } from '../../src/config/index.js';

const api = (more: Partial<Config['api']> = {}): Config['api'] => ({ vendordata_providers: ['StaticJSON'], vendordata_jsonfile_path: '/v.json', ...more }) as Config['api'];
const read = (text: string | undefined, more: Partial<Config['api']> = {}) => {
  return { data: readVendorData(api(more), { readText: async (path) => (path === '/v.json' ? text : undefined) }) };
};

test('the file of the operator is what guests are told', async () => {
  expect(await read('{"ntp": ["192.0.2.1"]}').data).toEqual({ ntp: ['192.0.2.1'] });
  expect(await read('{}', { vendordata_jsonfile_path: null }).data).toEqual({});
});

test('without StaticJSON there is none', async () => {
  expect(await read('{}', { vendordata_providers: ['DynamicJSON'] }).data).toBeNull();
});

test.each([[undefined, /does not exist/], ['{"password": "hunter2"', /is not JSON/], ['[1]', /holds no JSON object/]])('a file with %j is refused at start, without quoting it', async (text, message) => {
  const error = await read(text).data.then(() => null, (one: unknown) => one as Error);
  expect(error).toMatchObject({ code: 'vendor-data-invalid', message: expect.stringMatching(message) as string });
  expect(`${String(error?.message)} ${String(error?.cause)}`).not.toContain('hunter2');
});
