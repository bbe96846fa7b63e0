import { describe, expect, it } from 'vitest';
import { featuresOf, type Method } from '../../tempest/features.js';

const method = (name: string, status: Method['status'] = 'works'): Method => ({ method: name, status });

describe("Tempest's feature flags", () => {
  it('are on exactly when everything that they need works', () => {
    const { flags } = featuresOf([method('pause_instance'), method('unpause_instance'), method('suspend_instance'), method('resume_instance', 'needs-host-feature'), method('get_console_output')]);
    expect(flags).toMatchObject({ pause: true, suspend: false, console_output: true, rescue: false });
  });

  it('keep out tests that no flag of Tempest keeps out', () => {
    const rebuild = 'tempest.api.compute.servers.test_server_actions.ServerActionsTestJSON.test_rebuild_server';
    expect(featuresOf([method('rebuild_instance', 'refused')]).without(rebuild)).toMatch(/rebuild_instance/);
    expect(featuresOf([method('rebuild_instance')]).without(rebuild)).toBeNull();
  });
});
