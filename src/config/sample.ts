/** The sample file: every option with its help, commented out, at its default. */
import type { Option } from './option.js';
import { sectionsOf } from './schema.js';

const sectionHelp: Readonly<Record<string, string>> = {
  DEFAULT: 'Options of nova.conf that this agent obeys. An existing nova.conf can be used as it is.',
  agent: 'The agent itself.',
  bhyve: 'Guests.',
  zfs: 'Disks.',
  l2_agent: 'The network agent inside the service. Leave it off when another agent wires the ports of this host.',
  migration: 'Reserved: no options yet.',
  checkpoint: "Checkpoints of servers: openstack server image create --property bhyve_checkpoint=disk (or full: with memory).",
  placement: 'Log-in for Placement. Needed.',
  neutron: 'Log-in for Neutron. Needed.',
  glance: "Glance is read with the user's token; the log-in here serves requests of the agent's own.",
  cinder: 'Cinder.',
  service_user: "Our own token beside the user's.",
  vnc: 'Consoles.',
  oslo_messaging_notifications: 'Notifications about what is done to servers, for billing and the like. Off unless a driver is named.',
  oslo_messaging_rabbit: 'How the queues of this cloud are declared. Copy it from the other services.',
};

function wrap(words: string, width = 110): string[] {
  const lines = [''];
  for (const word of words.split(' ')) {
    const last = lines.at(-1)!;
    if (last !== '' && last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines;
}

function renderOption(name: string, option: Option<unknown>): string[] {
  const value = option.sample ?? option.default ?? '';
  return [...wrap(`${option.help} (${option.kind.describe})`).map((line) => `# ${line}`), `#${name} = ${value}`.trimEnd(), ''];
}

/** The whole of config/nova-bhyve.conf.sample. A test compares the file with this. */
export function renderSample(): string {
  const head = [
    '# Configuration of nova-bhyve-agent. Every option is shown with its default, commented out.',
    '# Made from the table in src/config; see config/README.md for the rules of the file and for the smallest useful one.',
    '',
  ];
  const body = [...sectionsOf()].flatMap(([section, options]) => [
    `[${section}]`,
    ...(sectionHelp[section] === undefined ? [] : [`# ${sectionHelp[section]}`]),
    '',
    ...Object.entries(options).flatMap(([name, option]) => renderOption(name, option)),
  ]);
  return `${[...head, ...body].join('\n').trimEnd()}\n`;
}
