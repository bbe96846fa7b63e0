/**
 * The compute RPC API, version 6.5 (2026.1): one table of all methods of nova-contract 6.1. A method says in its own definition whether
 * it does its work (`availability`); what `nova-bhyve methods` and README.md tell comes from here, so they cannot differ from what is served.
 */
import type { NovaObjectOf } from '../objects/index.js';
import type { RpcEndpoint, RpcMethod } from '../rpc/index.js';
import { buildAndRunInstance } from './build/build-and-run-instance.js';
import { cacheImages } from './cache-images.js';
import { checkCanLiveMigrateDestination, checkCanLiveMigrateSource } from './check-can-live-migrate.js';
import type { ComputeDeps } from './deps.js';
import { externalInstanceEvent } from './external-instance-event.js';
import { getConsoleOutput } from './get-console-output.js';
import { getDiagnostics } from './get-diagnostics.js';
import { getHostUptime } from './get-host-uptime.js';
import { getInstanceDiagnostics } from './get-instance-diagnostics.js';
import { getSerialConsole } from './get-serial-console.js';
import { getVncConsole } from './get-vnc-console.js';
import { hostMethod, instanceMethod, type Availability, type HostMethod, type InstanceMethod } from './operation.js';
import { pauseInstance } from './pause-instance.js';
import { rebootInstance } from './reboot-instance.js';
import { rebuildInstance } from './rebuild/rebuild-instance.js';
import { refusedHostMethod, refusedInstanceMethod } from './refusals/methods.js';
import { hostRefusals, instanceRefusals } from './refusals/table.js';
import { restoreInstance } from './restore-instance.js';
import { resumeInstance } from './resume-instance.js';
import { setAdminPassword } from './set-admin-password.js';
import { rescueInstance } from './rescue/rescue-instance.js';
import { unrescueInstance } from './rescue/unrescue-instance.js';
import { confirmResize } from './resize/confirm-resize.js';
import { finishResize } from './resize/finish-resize.js';
import { finishRevertResize } from './resize/finish-revert-resize.js';
import { prepResize } from './resize/prep-resize.js';
import { resizeInstance } from './resize/resize-instance.js';
import { revertResize } from './resize/revert-resize.js';
import { setHostEnabled } from './set-host-enabled.js';
import { shelveInstance } from './shelve/shelve-instance.js';
import { shelveOffloadInstance } from './shelve/shelve-offload-instance.js';
import { unshelveInstance } from './shelve/unshelve-instance.js';
import { backupInstance } from './snapshot/backup-instance.js';
import { snapshotInstance } from './snapshot/snapshot-instance.js';
import { softDeleteInstance } from './soft-delete-instance.js';
import { startInstance } from './start-instance.js';
import { stopInstance } from './stop-instance.js';
import { suspendInstance } from './suspend-instance.js';
import { terminateInstance } from './terminate-instance.js';
import { triggerCrashDump } from './trigger-crash-dump.js';
import { unpauseInstance } from './unpause-instance.js';
import { validateConsolePort } from './validate-console-port.js';

/** Advertised to every release: senders may use any 6.x minor up to this, whatever service version we claim. */
export const computeRpcVersion = '6.5';

interface RegisteredMethod {
  readonly rpc: string;
  readonly availability: Availability;
  readonly serve: (deps: ComputeDeps) => RpcMethod;
}

/** Every method, in no order that means anything. */
export function registeredMethods(): readonly RegisteredMethod[] {
  const register = (method: { readonly rpc: string; readonly availability?: Availability }, serve: RegisteredMethod['serve']): RegisteredMethod =>
    ({ rpc: method.rpc, availability: method.availability ?? { status: 'works' }, serve });
  const about = <Args extends { instance: NovaObjectOf<'Instance'> }>(method: InstanceMethod<Args>): RegisteredMethod => register(method, (deps) => instanceMethod(deps, method));
  const host = <Args>(method: HostMethod<Args>): RegisteredMethod => register(method, (deps) => hostMethod(deps, method));
  return [
    about(buildAndRunInstance()),
    about(terminateInstance),
    about(startInstance),
    about(stopInstance),
    about(rebootInstance),
    about(pauseInstance),
    about(unpauseInstance),
    about(suspendInstance),
    about(resumeInstance),
    about(softDeleteInstance),
    about(restoreInstance),
    about(triggerCrashDump),
    about(setAdminPassword),
    about(rebuildInstance),
    about(rescueInstance),
    about(unrescueInstance),
    about(prepResize),
    about(resizeInstance),
    about(finishResize),
    about(confirmResize),
    about(revertResize),
    about(finishRevertResize),
    about(snapshotInstance),
    about(backupInstance),
    about(shelveInstance),
    about(shelveOffloadInstance),
    about(unshelveInstance),
    about(getConsoleOutput),
    about(getVncConsole),
    about(getSerialConsole),
    about(validateConsolePort),
    about(getDiagnostics),
    about(getInstanceDiagnostics),
    about(checkCanLiveMigrateDestination),
    about(checkCanLiveMigrateSource),
    host(getHostUptime),
    host(setHostEnabled),
    host(externalInstanceEvent),
    host(cacheImages),
    ...instanceRefusals.map((refusal) => about(refusedInstanceMethod(refusal))),
    ...hostRefusals.map((refusal) => host(refusedHostMethod(refusal))),
  ];
}

export function computeEndpoint(deps: ComputeDeps): RpcEndpoint {
  return { namespace: null, version: computeRpcVersion, methods: new Map(registeredMethods().map(({ rpc, serve }) => [rpc, serve(deps)])) };
}
