/** `node dist/test/cloud/control-plane/main.js up|down [--wipe]|status` */
import { createControlPlane } from './control-plane.js';

const began = performance.now();
const say = (line: string): void => console.log(`${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s  ${line}`);

async function main(command: string, options: readonly string[]): Promise<number> {
  const cloud = createControlPlane();
  switch (command) {
    case 'up':
      await cloud.up(say);
      say(`the control plane is up; credentials: . ${cloud.layout.openrc}`);
      return 0;
    case 'down':
      await cloud.down({ wipe: options.includes('--wipe') }, say);
      return 0;
    case 'status': {
      const states = cloud.status();
      for (const { name, pid } of states) console.log(`${name.padEnd(18)}${pid === null ? 'down' : `up, pid ${pid}`}`);
      return states.every(({ pid }) => pid !== null) ? 0 : 1;
    }
    default:
      console.error('usage: main.js up | down [--wipe] | status');
      return 2;
  }
}

main(process.argv[2] ?? '', process.argv.slice(3)).then((code) => { process.exitCode = code; }, (err: unknown) => {
  console.error(err instanceof Error ? err.message : err);
  process.exitCode = 1;
});
