import { defineConfig } from 'vitest/config';

/** unit and contract need no set-up; lab needs the stand-ins' packages; cloud and tempest need the control plane (globalSetup brings it up). */
export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'], testTimeout: 60_000 } },
      { test: { name: 'contract', include: ['test/contract/**/*.test.ts'], testTimeout: 120_000, hookTimeout: 180_000 } },
      { test: { name: 'sim', include: ['test/sim/**/*.test.ts'], testTimeout: 300_000 } },
      { test: { name: 'lab', include: ['test/lab/**/*.test.ts'], testTimeout: 400_000, hookTimeout: 300_000, fileParallelism: false } },
      { test: { name: 'cloud', include: ['test/cloud/**/*.test.ts'], globalSetup: ['test/cloud/support/global-setup.ts'], testTimeout: 600_000, hookTimeout: 900_000, fileParallelism: false } },
      { test: { name: 'tempest', include: ['test/tempest/**/*.test.ts'], globalSetup: ['test/cloud/support/global-setup.ts'], testTimeout: 600_000, hookTimeout: 1_200_000, fileParallelism: false, disableConsoleIntercept: true } },
    ],
  },
});
