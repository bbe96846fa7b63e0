/** `nova-bhyve methods`: what Nova can ask of this agent, and what comes of it. */
import { abilities, methodRegistry } from '../compute/index.js';
import { renderJson, renderTable, type Output } from './output.js';

/** JSON is the list of methods; people also see what users can ask for. Resolves with exit code 0. */
export function showMethods(options: { json: boolean }, output: Output): number {
  const methods = methodRegistry();
  if (options.json) {
    output.out(renderJson(methods));
    return 0;
  }
  output.out(renderTable(['method', 'status', 'reason'], methods.map(({ method, status, reason }) => [method, status, reason ?? ''])));
  output.out(`\n${renderTable(['what', 'status', 'reason'], abilities().map(({ what, availability: { status, reason } }) => [what, status, reason ?? '']))}`);
  return 0;
}
