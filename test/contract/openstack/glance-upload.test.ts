/** Images into Glance over real connections: octets, metadata, lists, and what becomes of an upload when something breaks. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemClock, type Clock } from '../../../src/lib/clock.js';
import { AgentError, codeOf, wireFaultOf } from '../../../src/lib/errors.js';
import { parseImageId } from '../../../src/lib/ids.js';
import { createGlanceClient, createSession, type GlanceClient, type ImageContent, type Session } from '../../../src/openstack/index.js';
import type { RequestContext } from '../../../src/rpc/context.js';
import { startFakeCloud, type FakeCloud, type FakeReply, type FakeRequest } from '../../fakes/openstack-http.js';
import { recordingLog } from '../../fakes/recording-log.js';
import { createVirtualClock } from '../../fakes/virtual-clock.js';

const id = parseImageId('0f3c7d2a-5b1e-4c1e-9a57-0c5d7e3f1a21');
const context = { requestId: 'req-6a7c52ae-0f6e-4d1c-9e0e-0d6b8b1f2a3c', globalRequestId: null, userId: 'u', projectId: 'p', isAdmin: false, roles: [], authToken: 'user-token', readDeleted: 'no', wire: {} } satisfies RequestContext;
const never = new AbortController().signal;
const octets = Buffer.alloc(3 * 1024 * 1024, 'disk');

let cloud: FakeCloud;
let sessions: Session[];
beforeEach(async () => {
  cloud = await startFakeCloud();
  sessions = [];
});
afterEach(async () => {
  sessions.forEach((session) => session.close());
  await cloud.close();
});

function client(base = cloud.url, clock: Clock = createVirtualClock(), more: { stallMs?: number } = {}): GlanceClient {
  const session = createSession({ section: 'glance', auth: { kind: 'password', authUrl: cloud.url, password: 'x' }, clock, log: recordingLog().log });
  sessions.push(session);
  return createGlanceClient({ session, serviceUser: null, endpoint: { endpointOverride: base }, clock, log: recordingLog().log, ...more });
}

function contentOf(bytes: Buffer = octets): ImageContent & { opened: number } {
  const content = {
    opened: 0, bytes: BigInt(bytes.length),
    async *open() {
      content.opened += 1;
      for (let offset = 0; offset < bytes.length; offset += 100_000) yield bytes.subarray(offset, offset + 100_000);
    },
  };
  return content;
}

/** Glance with one image; `onFile` answers the n-th upload, whose octets have arrived. */
function serve(image: { status: string }, onFile: (request: FakeRequest, attempt: number) => FakeReply): void {
  let attempt = 0;
  cloud.services.set(`/v2/images/${id}`, () => (image.status === 'gone' ? { status: 404 } : { status: 200, body: { id, status: image.status } }));
  cloud.services.set(`/v2/images/${id}/file`, (request) => onFile(request, (attempt += 1)));
}
const uploads = (): FakeRequest[] => cloud.requests.filter((request) => request.method === 'PUT');
const errorOf = async (work: Promise<unknown>): Promise<unknown> => work.then(() => expect.fail('should have failed'), (error: unknown) => error);

describe('an upload', () => {
  test("sends every octet once, with the user's token and the length said before", async () => {
    serve({ status: 'queued' }, () => ({ status: 204 }));
    await client().upload(context, id, contentOf(), never);
    const [request] = uploads();
    expect((request?.body as Buffer).equals(octets)).toBe(true);
    expect(request?.headers).toMatchObject({ 'content-length': String(octets.length), 'content-type': 'application/octet-stream', 'x-auth-token': 'user-token', 'x-openstack-request-id': context.requestId });
  });

  test('that Glance has no room for fails in the words of Nova', async () => {
    serve({ status: 'queued' }, () => ({ status: 413 }));
    expect(wireFaultOf(await errorOf(client().upload(context, id, contentOf(), never)))).toMatchObject({ className: 'ImageQuotaExceeded', kwargs: { image_id: id } });
    expect(uploads()).toHaveLength(1);
  });

  test.each([404, 410])('of an image that was deleted (%i) fails in the words of Nova, and is not tried again', async (status) => {
    serve({ status: 'gone' }, () => ({ status }));
    expect(wireFaultOf(await errorOf(client().upload(context, id, contentOf(), never)))?.className).toBe('ImageNotFound');
    expect(uploads()).toHaveLength(1);
  });

  test('that breaks off begins again from the first octet once Glance has let go of it', async () => {
    const image = { status: 'queued' };
    serve(image, (_request, attempt) => {
      if (attempt > 1) return { status: 204 };
      image.status = 'saving';
      return 'reset';
    });
    const states = ['saving', 'saving', 'queued'];
    cloud.services.set(`/v2/images/${id}`, () => ({ status: 200, body: { id, status: states.shift() ?? 'queued' } }));
    const content = contentOf();
    await client().upload(context, id, content, never);
    expect([content.opened, states.length]).toEqual([2, 0]);
    expect((uploads().at(-1)?.body as Buffer).equals(octets)).toBe(true);
  });

  test('whose answer was lost is done when the image is active, and has failed when the image is gone', async () => {
    const image = { status: 'active' };
    serve(image, () => 'reset');
    await client().upload(context, id, contentOf(), never);
    image.status = 'gone';
    expect(wireFaultOf(await errorOf(client().upload(context, id, contentOf(), never)))?.className).toBe('ImageNotFound');
    expect(uploads()).toHaveLength(2);
  });

  test('that Glance refuses is not tried again', async () => {
    serve({ status: 'queued' }, () => ({ status: 400 }));
    expect(codeOf(await errorOf(client().upload(context, id, contentOf(), never)))).toBe('http-bad-request');
    expect(uploads()).toHaveLength(1);
  });

  test('fails with the error of the disk when that cannot be read', async () => {
    serve({ status: 'queued' }, () => ({ status: 204 }));
    const broken: ImageContent = { bytes: 10n, async *open() {
      yield Buffer.from('12345');
      throw new AgentError('file-failed', 'the disk cannot be read');
    } };
    expect(codeOf(await errorOf(client().upload(context, id, broken, never)))).toBe('file-failed');
  });
});

describe('an upload to a Glance that does not read', () => {
  let server: Server;
  let taken = 0;
  beforeEach(async () => {
    taken = 0;
    server = createServer((request, response) => {
      if (request.method === 'GET') return void response.end(JSON.stringify({ id, status: 'queued' }));
      request.once('data', (chunk: Buffer) => {
        taken += chunk.length;
        request.pause();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  /** 1 GiB that nobody holds in memory. */
  const endless = (): ImageContent & { given: number } => {
    const content = { bytes: 1n << 30n, given: 0, async *open() {
      for (; content.given < 1 << 30; content.given += 1 << 20) yield Buffer.alloc(1 << 20);
    } };
    return content;
  };

  test('takes no more from the disk than is on its way, and ends with the reason of the one who gives up', async () => {
    const controller = new AbortController();
    const content = endless();
    const work = errorOf(client(url(), systemClock).upload(context, id, content, controller.signal));
    let before = -1;
    await expect.poll(() => {
      const isStill = content.given === before && taken > 0;
      before = content.given;
      return isStill;
    }, { timeout: 10_000, interval: 200 }).toBe(true);
    controller.abort(new AgentError('instance-deleted', 'the instance is being deleted'));
    expect(codeOf(await work)).toBe('instance-deleted');
    expect(content.given).toBeLessThan(64 << 20);
  });

  test('is given up when nothing moves for the time of a stall', async () => {
    const error = await errorOf(createGlanceClient({
      session: sessionFor(), serviceUser: null, endpoint: { endpointOverride: url() }, numRetries: 0, stallMs: 200, clock: systemClock, log: recordingLog().log,
    }).upload(context, id, endless(), never));
    expect(codeOf(error)).toBe('http-timeout');
  });

  function sessionFor(): Session {
    const session = createSession({ section: 'glance', auth: { kind: 'password', authUrl: cloud.url, password: 'x' }, clock: systemClock, log: recordingLog().log });
    sessions.push(session);
    return session;
  }
});

describe('beside the octets', () => {
  test('attributes are set by a patch in which add replaces', async () => {
    const bodies: unknown[] = [];
    cloud.services.set(`/v2/images/${id}`, (request) => {
      bodies.push([request.method, request.headers['content-type'], request.body]);
      return { status: 200, body: {} };
    });
    await client().update(context, id, { disk_format: 'raw', 'odd/name~': 'x' });
    expect(bodies).toEqual([['PATCH', 'application/openstack-images-v2.1-json-patch', [{ op: 'add', path: '/disk_format', value: 'raw' }, { op: 'add', path: '/odd~1name~0', value: 'x' }]]]);
  });

  test('a hidden image is made once, with what it is to say, for the user', async () => {
    const bodies: unknown[] = [];
    let status = 201;
    cloud.services.set('/v2/images', (request) => {
      bodies.push([request.method, request.headers['x-auth-token'], request.body]);
      return { status, body: { id } };
    });
    expect(await client().createHidden(context, { name: 'part', disk_format: 'raw', bhyve_x: '1' })).toBe(id);
    expect(bodies).toEqual([['POST', 'user-token', { name: 'part', disk_format: 'raw', bhyve_x: '1', visibility: 'private', os_hidden: true }]]);
    status = 413;
    expect(codeOf(await errorOf(client().createHidden(context, {})))).toBe('image-too-much');
    status = 503;
    expect(codeOf(await errorOf(client().createHidden(context, {})))).toBe('http-server-error');
    expect(bodies).toHaveLength(3);
  });

  test.each<[FakeReply, unknown]>([
    [{ status: 200, body: { usage: { image_size_total: { limit: 10, usage: 7 }, image_count_total: { limit: 5, usage: 6 } } } }, { bytes: 3n << 20n, images: 0 }],
    [{ status: 200, body: { usage: { image_size_total: { limit: -1, usage: 7 } } } }, { bytes: null, images: null }],
    [{ status: 200, body: { usage: {} } }, { bytes: null, images: null }],
    [{ status: 404 }, { bytes: null, images: null }],
  ])('what a quota has room for is told by %j', async (reply, room) => {
    cloud.services.set('/v2/info/usage', () => reply);
    expect(await client().room(context)).toEqual(room);
  });

  test('a list follows the pages, newest first, as Nova asks for backups', async () => {
    const uuid = (digit: number): string => `0f3c7d2a-5b1e-4c1e-9a57-0c5d7e3f1a2${digit}`;
    const queries: Record<string, string>[] = [];
    cloud.services.set('/v2/images', (request) => {
      queries.push(Object.fromEntries(request.query));
      return { status: 200, body: request.query.has('marker') ? { images: [{ id: uuid(3) }] } : { images: [{ id: uuid(1) }, { id: uuid(2) }], next: '/v2/images?marker=x' } };
    });
    expect(await client().list(context, { image_type: 'backup', instance_uuid: 'i' })).toEqual([uuid(1), uuid(2), uuid(3)]);
    const common = { image_type: 'backup', instance_uuid: 'i', limit: '200', sort_key: 'created_at', sort_dir: 'desc' };
    expect(queries).toEqual([common, { ...common, marker: uuid(2) }]);
  });
});
