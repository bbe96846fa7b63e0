/** What Nova's releases really speak, from test/samples/nova-releases.json, and traffic as a service of such a release sends it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

interface Release {
  readonly name: string;
  readonly serviceVersion: number;
  /** Of the compute RPC API. */
  readonly rpc: string;
  readonly objects: Readonly<Record<string, string>>;
  /** RPC methods with the names of their arguments. */
  readonly methods: Readonly<Record<string, readonly string[]>>;
}

type Sample = { readonly releases: Readonly<Record<string, Omit<Release, 'name'>>> };

/** Oldest first; also the two (2024.1, 2024.2) that have one service version. */
export const novaReleases: readonly Release[] = (() => {
  const { releases } = JSON.parse(readFileSync(join(import.meta.dirname, '../samples/nova-releases.json'), 'utf8')) as Sample;
  let [objects, methods]: [Release['objects'], Release['methods']] = [{}, {}];
  return Object.entries(releases).map(([name, release]) => {
    objects = { ...objects, ...release.objects };
    methods = { ...methods, ...release.methods };
    return { ...release, name, objects, methods };
  });
})();

type Data = Record<string, unknown>;

/** Fields that a release added to an object. */
const added: Readonly<Record<string, { readonly since: string; readonly fields: (data: Data) => Data }>> = {
  Instance: { since: '2.8', fields: (data) => ({ compute_id: data['host'] === null || data['host'] === undefined ? null : 1 }) },
  Migration: { since: '1.8', fields: () => ({ dest_compute_id: null }) },
};

const minor = (version: string): number => Number(version.split('.')[1]);

/** The same value with every object in it as this release writes it. `stranger`: and with a field that nobody knows yet. */
export function asSentBy(release: Release, value: unknown, stranger: Data = {}): unknown {
  if (Array.isArray(value)) return value.map((element: unknown) => asSentBy(release, element, stranger));
  if (typeof value !== 'object' || value === null) return value;
  const lifted = Object.fromEntries(Object.entries(value).map(([key, element]) => [key, asSentBy(release, element, stranger)]));
  const name = lifted['nova_object.name'];
  const version = typeof name === 'string' ? release.objects[name] : undefined;
  if (typeof name !== 'string' || version === undefined) return lifted;
  const data = lifted['nova_object.data'] as Data;
  const extra = added[name];
  const more = extra !== undefined && minor(version) >= minor(extra.since) ? extra.fields(data) : {};
  return { ...lifted, 'nova_object.version': version, 'nova_object.data': { ...stranger, ...more, ...data } };
}
