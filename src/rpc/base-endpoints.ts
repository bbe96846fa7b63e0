/** What every OpenStack service answers: baseapi (nova/baserpc.py 1.1) and oslo.messaging's own ping (rpc_ping_enabled). */
import type { RpcEndpoint, RpcMethod } from './types.js';

const endpoint = (namespace: string | null, version: string, methods: readonly RpcMethod[]): RpcEndpoint =>
  ({ namespace, version, methods: new Map(methods.map((method) => [method.rpc, method])) });

export function baseEndpoints(service: string): readonly RpcEndpoint[] {
  return [
    endpoint('baseapi', '1.1', [
      { rpc: 'ping', parameters: { required: ['arg'], optional: [] }, handle: async ({ args }) => ({ service, arg: args['arg'] ?? null }) },
      // There is no backdoor.
      { rpc: 'get_backdoor_port', parameters: { required: [], optional: [] }, handle: async () => null },
    ]),
    endpoint(null, '1.0', [{ rpc: 'oslo_rpc_server_ping', handle: async () => 'pong' }]),
  ];
}
