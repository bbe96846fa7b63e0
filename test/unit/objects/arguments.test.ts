import { describe, expect, test } from 'vitest';
import { parseArgument, parseArgumentList, parseOptionalArgument } from '../../../src/objects/index.js';

const uuid = 'b004d3f3-a703-411e-9d0a-52251cce532b';
const wire = (data: Record<string, unknown>, name = 'Instance', version = '2.7'): unknown => ({
  'nova_object.name': name, 'nova_object.namespace': 'nova', 'nova_object.version': version, 'nova_object.data': data,
});
const typeError = expect.objectContaining({ code: 'rpc-bad-argument', wire: expect.objectContaining({ className: 'TypeError', module: 'builtins', kwargs: {} }) as unknown }) as Error;

describe('an Instance argument', () => {
  test('is taken with unset fields, unknown fields and a newer minor', () => {
    expect(parseArgument('Instance', wire({ uuid, id: 1, future: [1] }, 'Instance', '2.99')).get('uuid')).toBe(uuid);
  });

  test.each([
    ['without uuid', wire({ id: 1 })],
    ['whose uuid would leave its folder', wire({ uuid: '../../etc', id: 1 })],
    ['whose uuid is in capitals', wire({ uuid: uuid.toUpperCase(), id: 1 })],
    ['whose id is text', wire({ uuid, id: '1' })],
    ['whose metadata holds a number', wire({ uuid, id: 1, metadata: { a: 1 } })],
    ['whose flavor is a plain dictionary', wire({ uuid, id: 1, flavor: { vcpus: 1 } })],
    ['whose flavor has text for vcpus', wire({ uuid, id: 1, flavor: wire({ memory_mb: 1, vcpus: 'x', root_gb: 1 }, 'Flavor', '1.2') })],
    ['that is another object', wire({ uuid, id: 1 }, 'Service', '1.22')],
    ['that is null', null], ['that is a list', []], ['that is text', 'x'],
  ])('%s is refused as a Python compute would', (_what, value) => {
    expect(() => parseArgument('Instance', value)).toThrowError(typeError);
  });

  test('of another major version is refused by name, whatever is in it', () => {
    expect(() => parseArgument('Instance', wire({}, 'Instance', '3.0'))).toThrowError(expect.objectContaining({ code: 'object-other-major' }));
  });

  test('is refused without its contents in the message', () => {
    try {
      parseArgument('Instance', wire({ uuid, id: 1, user_data: 12345, key_data: { secret: 'hunter2' } }));
      expect.unreachable();
    } catch (error) {
      expect(String(error)).not.toContain('hunter2');
      expect(String(error)).not.toContain('12345');
    }
  });
});

test('optional arguments may be null or absent', () => {
  expect(parseOptionalArgument('RequestSpec', null)).toBeNull();
  expect(parseOptionalArgument('RequestSpec', undefined)).toBeNull();
});

test('a list argument must be a list of such objects', () => {
  expect(() => parseArgumentList('Instance', wire({ uuid, id: 1 }))).toThrowError(typeError);
  expect(parseArgumentList('Instance', [wire({ uuid, id: 1 })])).toHaveLength(1);
});
