/** uptime(1), text and --libxo json. */
import { readFileSync } from 'node:fs';
import { bootSeconds, currentNode } from './lib/lab-node.js';
import { out, runTool } from './lib/tool.js';

runTool((args) => {
  const seconds = Math.max(0, Math.floor(Date.now() / 1000) - bootSeconds(currentNode()));
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  const loads = readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3);
  const now = new Date();
  const clock = `${String(now.getHours() % 12 || 12).padStart(2)}:${String(now.getMinutes()).padStart(2, '0')}${now.getHours() < 12 ? 'AM' : 'PM'}`;
  const dayText = days > 0 ? ` ${days} day${days > 1 ? 's' : ''},` : '';
  const rest = hours > 0 ? ` ${hours}:${String(minutes).padStart(2, '0')},` : minutes > 0 ? ` ${minutes} min${minutes > 1 ? 's' : ''},` : ` ${seconds} sec${seconds === 1 ? '' : 's'},`;
  if (args.join(' ').includes('json')) {
    out(`${JSON.stringify({ 'uptime-information': {
      'time-of-day': clock, uptime: seconds, days, hours, minutes, seconds: seconds % 60, 'uptime-human': dayText + rest, users: 0,
      'load-average-1': Number(loads[0]), 'load-average-5': Number(loads[1]), 'load-average-15': Number(loads[2]),
    } })}\n`);
    return 0;
  }
  out(`${clock}  up${dayText}${rest} 0 users, load averages: ${loads.join(', ')}\n`);
  return 0;
});
