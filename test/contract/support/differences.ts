/**
 * Where our conversation may differ from the recorded one, and why nobody can tell or mind. Everything else must be equal, step by step.
 * A rule that no recording needs any more fails the test, so that the list stays true.
 */
export interface Difference {
  readonly operations: readonly string[];
  readonly why: string;
  /** Lines before: recorded and ours. Returns both brought in line. */
  readonly apply: (recorded: readonly string[], ours: readonly string[]) => { recorded: string[]; ours: string[] };
}

/** Repeated lines that match, only where they come first; in the order of their text, because they belong together. */
const once = (lines: readonly string[], pattern: RegExp): string[] => {
  const found = [...new Set(lines.filter((line) => pattern.test(line)))].sort();
  const start = lines.findIndex((line) => pattern.test(line));
  return lines.flatMap((line, index) => (index === start ? found : pattern.test(line) ? [] : [line]));
};

export const differences: readonly Difference[] = [
  {
    operations: ['stop', 'start', 'reboot-soft', 'reboot-hard', 'create', 'create-no-network', 'rebuild', 'rescue', 'unrescue', 'resize', 'resize-confirm', 'resize-revert', 'unshelve'],
    why: 'We count the instance under its new state at once; Nova waits for the next audit. Weighers only see it earlier.',
    apply: (recorded, ours) => ({ recorded: [...recorded], ours: ours.filter((line, index) => line !== 'ComputeNode.save' || ours[index - 1]?.startsWith('event ends') !== true) }),
  },
  {
    operations: ['rebuild'],
    why: 'Nova ends a rebuild as it ends an evacuation; without a move there is no record of one to drop.',
    apply: (recorded, ours) => ({ recorded: recorded.filter((line) => line !== 'Instance.drop_migration_context'), ours: [...ours] }),
  },
  {
    operations: ['rescue'],
    why: "Nova's fake driver leaves the rescued guest off; ours runs.",
    apply: (recorded, ours) => ({ recorded: recorded.map((line) => line.replace(' power_state=4', '')), ours: [...ours] }),
  },
  {
    operations: ['resize', 'resize-revert'],
    why: 'Two halves of a move on one host: we finish the first before the second begins, where two hosts overlap.',
    apply: (recorded, ours) => ({ recorded: halvesInOrder(recorded), ours: [...ours] }),
  },
  {
    operations: ['resize'],
    why: 'We do not begin a resize whose task was cleared while it waited for us.',
    apply: (recorded, ours) => ({ recorded: [...recorded], ours: ours.map((line) => line.replace(/^Instance\.save expecting resize_prep: system_metadata/, 'Instance.save: system_metadata')) }),
  },
  {
    operations: ['resize-confirm'],
    why: 'Of two hosts the source tells the schedulers that the instance left; on one host it is still there, with another flavor.',
    apply: (recorded, ours) => ({ recorded: recorded.filter((line) => !line.startsWith('delete_instance_info')), ours: ours.filter((line) => !line.startsWith('update_instance_info')) }),
  },
  {
    operations: ['resize-revert'],
    why: "The last save expects the task that the one before it left, so that a delete that came in between is not overwritten.",
    apply: (recorded, ours) => ({ recorded: [...recorded], ours: ours.map((line) => line.replace('Instance.save expecting resize_reverting: task_state=null', 'Instance.save: task_state=null')) }),
  },
  {
    operations: ['create', 'create-no-network', 'create-bind-fails'],
    why: "The root device's name follows the disk bus: virtio here, SCSI in Nova's fake driver.",
    apply: (recorded, ours) => ({ recorded: recorded.map((line) => line.replaceAll('/dev/sda', '/dev/vda')), ours: [...ours] }),
  },
  {
    operations: ['pause'],
    why: "Nova's fake driver runs a paused guest on; here it is paused, and the row says so.",
    apply: (recorded, ours) => ({ recorded: [...recorded], ours: ours.map((line) => line.replace(' power_state=3', '')) }),
  },
  {
    operations: ['suspend'],
    why: "The state to come back to is saved before the guest is touched: a server whose task was taken away meanwhile is left running. And Nova's fake driver runs a suspended guest on.",
    apply: (recorded, ours) => {
      const at = ours.findIndex((line) => line.startsWith('Instance.save expecting suspending: system_metadata='));
      const merged = `${ours[at]}${ours[at + 1]?.replace('Instance.save expecting suspending: power_state=7', '')}`;
      return { recorded: [...recorded], ours: at === -1 ? [...ours] : [...ours.slice(0, at), merged, ...ours.slice(at + 2)] };
    },
  },
  {
    operations: ['delete-no-network'],
    why: 'Nova refreshes an empty network cache before it deletes the ports that are in it; we ask Neutron for the ports in any case.',
    apply: (recorded, ours) => ({ recorded: recorded.filter((_line, index) => index !== recorded.indexOf('InstanceInfoCache.save: no vif')), ours: [...ours] }),
  },
  {
    operations: ['create-bind-fails'],
    why: 'Nova cleans the network up two and a half times after the failure, we do it twice; each time finds nothing left to do.',
    apply: (recorded, ours) => ({ recorded: once(recorded, /^(InstanceInfoCache\.save: no vif|VirtualInterface\.delete_by)/), ours: once(ours, /^(InstanceInfoCache\.save: no vif|VirtualInterface\.delete_by)/) }),
  },
  {
    operations: ['create-bind-fails'],
    why: 'Nova gives host, zone, network flag and task back in three saves, in another order; we do it in two. What stands at the end is the same.',
    apply: (recorded, ours) => ({ recorded: joinSaves(recorded), ours: joinSaves(ours) }),
  },
  {
    operations: ['snapshot', 'backup', 'shelve'],
    why: "A copy of the disk is made before the upload, and shown to users by a task of its own, as Nova's real drivers do; the recorded fake driver has none.",
    apply: (recorded, ours) => ({ recorded: [...recorded], ours: withoutPending(ours) }),
  },
  {
    operations: ['unshelve'],
    why: "The image of the shelved server never becomes the row's own: a crash while it is would leave it there for ever (Nova's bug 1934094).",
    apply: (recorded, ours) => ({ recorded: recorded.map((line) => line.replace(/ image_ref="[^"]*"/, '')), ours: [...ours] }),
  },
];

/** An `event starts` between a cast and the end of the event that it belongs to comes after that end. */
function halvesInOrder(lines: readonly string[]): string[] {
  const result = [...lines];
  for (let index = 0; index + 1 < result.length; index += 1) {
    if (result[index]!.startsWith('event starts') && result[index + 1]!.startsWith('event ends')) result.splice(index, 2, result[index + 1]!, result[index]!);
  }
  return result;
}

/** The two saves around the copy as one: from the state before it to "uploading". */
function withoutPending(lines: readonly string[]): string[] {
  const pending = lines.findIndex((line) => /: task_state="(?:shelving_)?image_pending_upload"$/.test(line));
  const next = lines[pending + 1];
  if (pending < 0 || next === undefined) return [...lines];
  return [...lines.slice(0, pending), lines[pending]!.replace(/task_state=.*/, next.slice(next.indexOf('task_state='))), ...lines.slice(pending + 2)];
}

const save = /^Instance\.save: /;
/** Saves without an expected state that follow the failure, as one; the node record between them stays. */
function joinSaves(lines: readonly string[]): string[] {
  const start = lines.findIndex((line) => line.startsWith('InstanceInfoCache.save: no vif'));
  const tail = lines.slice(start);
  const joint = tail.filter((line) => save.test(line)).flatMap((line) => line.replace(save, '').split(/ (?=[a-z_0-9]+=)/)).sort();
  const index = tail.length - 1 - [...tail].reverse().findIndex((line) => save.test(line));
  return [...lines.slice(0, start), ...tail.flatMap((line, position) => (!save.test(line) ? [line] : position === index ? [`Instance.save: ${joint.join(' ')}`] : []))];
}

/** Both conversations of an operation brought in line, and the differences that were needed. */
export function reconcile(operation: string, recorded: readonly string[], ours: readonly string[]): { recorded: string[]; ours: string[]; needed: Difference[] } {
  const needed: Difference[] = [];
  let pair = { recorded: [...recorded], ours: [...ours] };
  for (const difference of differences.filter((one) => one.operations.includes(operation))) {
    const next = difference.apply(pair.recorded, pair.ours);
    if (JSON.stringify(next) !== JSON.stringify(pair)) needed.push(difference);
    pair = next;
  }
  return { ...pair, needed };
}
