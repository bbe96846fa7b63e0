import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { chooseTopology } from '../../../../src/compute/shape/topology.js';

const choose = (vcpus: number, extraSpecs: Record<string, string> = {}, properties: Record<string, string> = {}): unknown => {
  const topology = chooseTopology({ vcpus, extraSpecs, properties });
  return typeof topology === 'string' ? topology : [topology.sockets, topology.cores, topology.threads];
};

/** What Nova's own get_best_cpu_topology answers (26.2). */
describe('the topology is the one that Nova would choose', () => {
  test.each([
    ['a socket for each vCPU', 4, {}, {}, [4, 1, 1]],
    ['cores that the flavor prefers', 8, { 'hw:cpu_cores': '4' }, {}, [2, 4, 1]],
    ['threads that the flavor prefers', 8, { 'hw:cpu_threads': '2' }, {}, [4, 1, 2]],
    ['a whole wish', 8, { 'hw:cpu_sockets': '1', 'hw:cpu_cores': '4', 'hw:cpu_threads': '2' }, {}, [1, 4, 2]],
    ['the image, whose wish replaces all of the flavor', 8, { 'hw:cpu_threads': '2' }, { hw_cpu_cores: '4' }, [2, 4, 1]],
    ['few sockets by limit', 8, { 'hw:cpu_max_sockets': '2' }, {}, [2, 4, 1]],
    ['an image that narrows the flavor', 8, { 'hw:cpu_max_sockets': '4' }, { hw_cpu_max_sockets: '1' }, [1, 8, 1]],
    ['a wish that a limit of the image overrules', 8, { 'hw:cpu_sockets': '4' }, { hw_cpu_max_sockets: '2' }, [2, 4, 1]],
    ['the best that a wish allows', 6, { 'hw:cpu_cores': '4' }, {}, [6, 1, 1]],
    ['limits by the name that the flavor documentation has', 8, { 'hw:max_cpu_sockets': '2' }, {}, [2, 4, 1]],
  ])('%s', (_name, vcpus, specs, properties, expected) => {
    expect(choose(vcpus, specs as Record<string, string>, properties as Record<string, string>)).toEqual(expected);
  });

  test.each([
    ['an image that allows more than the flavor', 8, { 'hw:cpu_max_sockets': '2' }, { hw_cpu_max_sockets: '4' }, /more than the flavor/],
    ['an image that wants more than the limit', 8, { 'hw:cpu_max_sockets': '2' }, { hw_cpu_sockets: '4' }, /the image wants 4 sockets/],
    ['limits that cannot make the number', 8, { 'hw:cpu_max_sockets': '1', 'hw:cpu_max_cores': '2', 'hw:cpu_max_threads': '2' }, {}, /8 vCPUs cannot be made/],
    ['what is no number', 8, { 'hw:cpu_cores': 'four' }, {}, /hw:cpu_cores=four is not a number/],
  ])('%s is refused with a sentence', (_name, vcpus, specs, properties, expected) => {
    expect(choose(vcpus, specs as Record<string, string>, properties as Record<string, string>)).toMatch(expected);
  });
});

test('whatever is wished for: the product is the number of vCPUs, within the limits', () => {
  const count = fc.integer({ min: 1, max: 16 });
  fc.assert(fc.property(fc.integer({ min: 1, max: 64 }), count, count, count, (vcpus, sockets, cores, threads) => {
    const topology = chooseTopology({ vcpus, extraSpecs: { 'hw:cpu_max_sockets': String(sockets), 'hw:cpu_cores': String(cores), 'hw:cpu_threads': String(threads) }, properties: {} });
    if (typeof topology === 'string') return;
    expect(topology.sockets * topology.cores * topology.threads).toBe(vcpus);
    expect(topology.sockets).toBeLessThanOrEqual(sockets);
  }));
});
