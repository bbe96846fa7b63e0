/** Usage texts of zpool(8) 2.1.9, from test/samples/freebsd-13.2/zpool.json. */

const usage = `usage: zpool command args ...
where 'command' is one of the following:

	version

	create [-fnd] [-o property=value] ... 
	    [-O file-system-property=value] ... 
	    [-m mountpoint] [-R root] <pool> <vdev> ...
	destroy [-f] <pool>

	add [-fgLnP] [-o property=value] <pool> <vdev> ...
	remove [-npsw] <pool> <device> ...

	labelclear [-f] <vdev>

	checkpoint [-d [-w]] <pool> ...

	list [-gHLpPv] [-o property[,...]] [-T d|u] [pool] ... 
	    [interval [count]]
	iostat [[[-c [script1,script2,...][-lq]]|[-rw]] [-T d | u] [-ghHLpPvy]
	    [[pool ...]|[pool vdev ...]|[vdev ...]] [[-n] interval [count]]
	status [-c [script1,script2,...]] [-igLpPstvxD]  [-T d|u] [pool] ... 
	    [interval [count]]

	online [-e] <pool> <device> ...
	offline [-f] [-t] <pool> <device> ...
	clear [-nF] <pool> [device]
	reopen [-n] <pool>

	attach [-fsw] [-o property=value] <pool> <device> <new-device>
	detach <pool> <device>
	replace [-fsw] [-o property=value] <pool> <device> [new-device]
	split [-gLnPl] [-R altroot] [-o mntopts]
	    [-o property=value] <pool> <newpool> [<device> ...]

	initialize [-c | -s] [-w] <pool> [<device> ...]
	resilver <pool> ...
	scrub [-s | -p] [-w] <pool> ...
	trim [-dw] [-r <rate>] [-c | -s] <pool> [<device> ...]

	import [-d dir] [-D]
	import [-o mntopts] [-o property=value] ... 
	    [-d dir | -c cachefile] [-D] [-l] [-f] [-m] [-N] [-R root] [-F [-n]] -a
	import [-o mntopts] [-o property=value] ... 
	    [-d dir | -c cachefile] [-D] [-l] [-f] [-m] [-N] [-R root] [-F [-n]]
	    [--rewind-to-checkpoint] <pool | id> [newpool]
	export [-af] <pool> ...
	upgrade
	upgrade -v
	upgrade [-V version] <-a | pool ...>
	reguid <pool>

	history [-il] [<pool>] ...
	events [-vHf [pool] | -c]

	get [-Hp] [-o "all" | field[,...]] <"all" | property[,...]> <pool> ...
	set <property=value> <pool> 
	sync [pool] ...

	wait [-Hp] [-T d|u] [-t <activity>[,...]] <pool> [interval]
`;

export const zpoolPropertyUsage = `the following properties are supported:

	PROPERTY             EDIT   VALUES

	allocated              NO   <size>
	capacity               NO   <size>
	checkpoint             NO   <size>
	dedupratio             NO   <1.00x or higher if deduped>
	expandsize             NO   <size>
	fragmentation          NO   <percent>
	free                   NO   <size>
	freeing                NO   <size>
	guid                   NO   <guid>
	health                 NO   <state>
	leaked                 NO   <size>
	load_guid              NO   <load_guid>
	size                   NO   <size>
	altroot               YES   <path>
	ashift                YES   <ashift, 9-16, or 0=default>
	autoexpand            YES   on | off
	autoreplace           YES   on | off
	autotrim              YES   on | off
	bootfs                YES   <filesystem>
	cachefile             YES   <file> | none
	comment               YES   <comment-string>
	compatibility         YES   <file[,file...]> | off | legacy
	delegation            YES   on | off
	failmode              YES   wait | continue | panic
	listsnapshots         YES   on | off
	multihost             YES   on | off
	readonly              YES   on | off
	version               YES   <version>
	feature@...           YES   disabled | enabled | active

The feature@ properties must be appended with a feature name.
See zpool-features(7).
`;

/** All of it, or the lines of one command. */
export function zpoolUsage(command?: string): string {
  if (command === undefined) return usage;
  const lines: string[] = [];
  let isTaking = false;
  for (const line of usage.split('\n')) {
    if (/^\t\S/.test(line)) isTaking = line.startsWith(`\t${command} `);
    else if (!line.startsWith('\t ')) isTaking = false;
    if (isTaking) lines.push(`${line}\n`);
  }
  return lines.join('');
}
