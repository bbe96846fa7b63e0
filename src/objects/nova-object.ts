/**
 * The class behind NovaObject. It knows no field types: a value is a primitive, plain data, or another object, told by its
 * `nova_object.name`. So fields and versions that we never heard of survive a round trip. What can go wrong is a message
 * that is no object at all (AgentError `object-malformed`) or one nested without end (the same).
 *
 * Plain data inside an object is frozen: a dictionary changed in place could not be seen as a change, and would not be saved.
 */
import { AgentError } from '../lib/errors.js';
import { assert } from '../lib/assert.js';
import type { NovaObject, Revision, WireObject } from './types.js';

const NAME = 'nova_object.name';
const NAMESPACE = 'nova_object.namespace';
const VERSION = 'nova_object.version';
const DATA = 'nova_object.data';
const CHANGES = 'nova_object.changes';

/** Deeper than anything Nova sends (RequestSpec reaches 7). */
const MAX_DEPTH = 48;

type Plain = Readonly<Record<string, unknown>>;

const isPlain = (value: unknown): value is Plain => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Whether a wire value is an object in Nova's sense. */
export const isWireObject = (value: unknown): value is WireObject => isPlain(value) && NAME in value;

/** Whether a value read out of an object is an object itself. */
export const isNovaObject = (value: unknown): value is NovaObject => value instanceof VersionedObject;

const malformed = (why: string): AgentError => new AgentError('object-malformed', `not a versioned object: ${why}`);

/** One copy for reading and for setting: nested wire objects become objects, plain data is copied and frozen. */
function adopt(value: unknown, depth: number): unknown {
  if (value instanceof VersionedObject) return value;
  if (depth > MAX_DEPTH) throw malformed('nested too deep');
  if (Array.isArray(value)) return Object.freeze(value.map((element: unknown) => adopt(element, depth + 1)));
  if (isWireObject(value)) return parseAt(value, depth);
  if (isPlain(value)) {
    return Object.freeze(Object.fromEntries(Object.entries(value).map(([key, element]) => [key, adopt(element, depth + 1)])));
  }
  return value;
}

function render(value: unknown): unknown {
  if (value instanceof VersionedObject) return value.toWire();
  if (Array.isArray(value)) return value.map(render);
  if (isPlain(value)) return Object.fromEntries(Object.entries(value).map(([key, element]) => [key, render(element)]));
  return value;
}

function copy(value: unknown): unknown {
  if (value instanceof VersionedObject) return value.clone();
  if (Array.isArray(value)) return Object.freeze(value.map(copy));
  if (isPlain(value)) return Object.freeze(Object.fromEntries(Object.entries(value).map(([key, element]) => [key, copy(element)])));
  return value;
}

function parseAt(wire: unknown, depth: number): VersionedObject {
  if (!isWireObject(wire)) throw malformed('no name');
  const { [NAME]: name, [NAMESPACE]: namespace, [VERSION]: version, [DATA]: data, [CHANGES]: changes } = wire;
  if (typeof name !== 'string' || typeof namespace !== 'string' || typeof version !== 'string') throw malformed('no version');
  if (!isPlain(data)) throw malformed(`${name} has no data`);
  const fields = new Map(Object.entries(data).map(([field, value]) => [field, adopt(value, depth + 1)]));
  const changed = Array.isArray(changes) ? changes.filter((field): field is string => typeof field === 'string') : [];
  return new VersionedObject(name, namespace, version, fields, changed);
}

/** Reads the wire form, nested objects included. AgentError `object-malformed`. */
export const parseObject = (wire: unknown): VersionedObject => parseAt(wire, 0);

/** Makes an object whose fields all count as changed, as one made by hand in Nova. Undefined fields stay unset. */
export function makeObject(name: string, version: string, fields: Plain): VersionedObject {
  const object = new VersionedObject(name, 'nova', version, new Map(), []);
  for (const [field, value] of Object.entries(fields)) {
    if (value !== undefined) object.set(field, value);
  }
  return object;
}

export class VersionedObject implements NovaObject<Record<string, unknown>> {
  readonly #fields: Map<string, unknown>;
  readonly #changed: Set<string>;
  /** Revision in which a field was last set here; absent: as it came. */
  readonly #setAt = new Map<string, number>();
  #revision = 0;

  constructor(
    readonly objectName: string,
    readonly namespace: string,
    readonly version: string,
    fields: Map<string, unknown>,
    changed: Iterable<string>,
  ) {
    this.#fields = fields;
    this.#changed = new Set(changed);
  }

  isSet(field: string): boolean {
    return this.#fields.has(field);
  }

  get(field: string): unknown {
    if (this.#fields.has(field)) return this.#fields.get(field);
    throw new AgentError('object-field-unset', `${this.objectName}.${field} is not set`, { details: { object: this.objectName, field } });
  }

  maybe(field: string): unknown {
    return this.#fields.get(field);
  }

  set(field: string, value: unknown): void {
    assert(value !== undefined, `${this.objectName}.${field} set to undefined`);
    this.#fields.set(field, adopt(value, 0));
    this.#touch(field);
    this.#changed.add(field);
  }

  get changes(): ReadonlySet<string> {
    const changes = new Set([...this.#changed].filter((field) => this.#fields.has(field)));
    for (const [field, value] of this.#fields) {
      if (hasNestedChanges(field, value)) changes.add(field);
    }
    return changes;
  }

  resetChanges(): void {
    this.#changed.clear();
    for (const value of this.#fields.values()) resetWithin(value);
  }

  revision(): Revision {
    const nested = new Map<string, Revision>();
    for (const [field, value] of this.#fields) {
      if (value instanceof VersionedObject) nested.set(field, value.revision());
    }
    return { own: this.#revision, nested };
  }

  applyUpdates(updates: Plain, since: Revision = this.revision()): void {
    const { obj_what_changed: left, ...fields } = updates;
    for (const [field, value] of Object.entries(fields)) {
      if (!this.#isNewer(field, since)) this.#take(field, adopt(value, 0), since.nested.get(field));
    }
    this.#settle(new Set(Array.isArray(left) ? left.filter((field): field is string => typeof field === 'string') : []), since);
  }

  takeFrom(fresh: NovaObject, fields?: readonly string[]): void {
    assert(fresh instanceof VersionedObject && fresh.objectName === this.objectName, `a ${this.objectName} takes its fields from its like`);
    for (const [field, value] of fresh.#fields) {
      if (fields !== undefined && !fields.includes(field)) continue;
      this.#take(field, copy(value));
      resetWithin(this.#fields.get(field));
      this.#touch(field);
      this.#changed.delete(field);
    }
  }

  toWire(): WireObject {
    const changes = [...this.changes];
    return {
      [NAME]: this.objectName,
      [NAMESPACE]: this.namespace,
      [VERSION]: this.version,
      [DATA]: Object.fromEntries([...this.#fields].map(([field, value]) => [field, render(value)])),
      ...(changes.length > 0 ? { [CHANGES]: changes } : {}),
    };
  }

  clone(): VersionedObject {
    const fields = new Map([...this.#fields].map(([field, value]) => [field, copy(value)]));
    return new VersionedObject(this.objectName, this.namespace, this.version, fields, this.#changed);
  }

  #touch(field: string): void {
    this.#revision += 1;
    this.#setAt.set(field, this.#revision);
  }

  /** Whether somebody set the field after `since`. */
  #isNewer(field: string, since: Revision): boolean {
    return (this.#setAt.get(field) ?? 0) > since.own;
  }

  /** A nested object that somebody may hold keeps its identity; otherwise a later change through that reference would be lost. */
  #take(field: string, value: unknown, since?: Revision): void {
    const held = this.#fields.get(field);
    const isSameThing = held instanceof VersionedObject && value instanceof VersionedObject && held.objectName === value.objectName
      && held.version === value.version && !held.isSet('objects');
    if (isSameThing) held.#absorb(value, since ?? held.revision());
    else this.#fields.set(field, value);
  }

  /** Becomes like `fresh`, but for fields set after `since`. */
  #absorb(fresh: VersionedObject, since: Revision): void {
    for (const field of [...this.#fields.keys()]) {
      if (!fresh.#fields.has(field) && !this.#isNewer(field, since)) this.#fields.delete(field);
    }
    for (const [field, value] of fresh.#fields) {
      if (!this.#isNewer(field, since)) this.#take(field, value, since.nested.get(field));
    }
    this.#settle(fresh.#changed, since);
  }

  /** Of the changes made up to `since` only `left` remain. */
  #settle(left: ReadonlySet<string>, since: Revision): void {
    for (const [field, value] of this.#fields) {
      if (left.has(field)) this.#changed.add(field);
      else if (!this.#isNewer(field, since)) {
        this.#changed.delete(field);
        settleWithin(value, since.nested.get(field));
      }
    }
  }

  /** For the helpers of this file. */
  static settle(object: VersionedObject, since: Revision): void {
    object.#settle(new Set(), since);
  }
}

function settleWithin(value: unknown, since: Revision | undefined): void {
  if (value instanceof VersionedObject && since !== undefined) VersionedObject.settle(value, since);
  else resetWithin(value);
}

/** Nova counts a nested object, and the members of a list object, but not objects inside other lists. */
function hasNestedChanges(field: string, value: unknown): boolean {
  if (value instanceof VersionedObject) return value.changes.size > 0;
  return field === 'objects' && Array.isArray(value) && value.some((member) => member instanceof VersionedObject && member.changes.size > 0);
}

function resetWithin(value: unknown): void {
  if (value instanceof VersionedObject) value.resetChanges();
  else if (Array.isArray(value)) value.forEach(resetWithin);
}
