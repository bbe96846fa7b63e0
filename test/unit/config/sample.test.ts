import { resolve } from 'node:path';
import { expect, test } from 'vitest';
import { parseIni, readConfig, renderSample, sectionsOf } from '../../../src/config/index.js';

const sample = resolve(import.meta.dirname, '../../../config/nova-bhyve.conf.sample');

test('config/nova-bhyve.conf.sample is the one that the table makes (npm run vitest -- test/unit/config --update)', async () => {
  await expect(renderSample()).toMatchFileSnapshot(sample);
});

test('the sample shows every option, and says nothing unless a line is uncommented', () => {
  const text = renderSample();
  expect(parseIni(text).entries).toEqual([]);
  const shown = [...text.matchAll(/^#([a-z_0-9]+) =/gm)].length;
  expect(shown).toBe([...sectionsOf().values()].flatMap((section) => Object.keys(section)).length);
});

test('every default, uncommented, is accepted and is the default', () => {
  const machine = { hostname: 'h', address: '192.0.2.1' };
  const login = 'auth_type=password\nauth_url=http://c\nusername=u\npassword=p\n';
  const needed = { file: 'n', text: `[DEFAULT]\ntransport_url=rabbit://a:b@c/\n[placement]\n${login}[neutron]\n${login}` };
  const defaults = { file: 'd', text: renderSample().replaceAll(/^#([a-z_0-9]+ =.*)$/gm, (whole, line: string) => (/\(|PASSWORD|mappings|auth_type|auth_url|username|password/.test(line) ? whole : line)) };
  expect(readConfig([defaults, needed], {}, machine).config).toEqual(readConfig([needed], {}, machine).config);
});
