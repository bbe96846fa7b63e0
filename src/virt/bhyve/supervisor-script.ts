/**
 * The supervisor of one guest: a POSIX sh script (FreeBSD's /bin/sh; dash and busybox in tests), because it must outlive the agent, its
 * upgrades and its crashes, and must cost next to nothing 200 times over. It is text in a .ts file so that a plain `tsc` ships it. The agent
 * writes it into the guest's folder by rename, so that a running shell keeps reading the version that it started with.
 *
 *              start                      exit 0, nobody asked for an end
 *   agent ───────────────▶ clean /dev/vmm ──▶ run bhyve ──────────────▶ run bhyve again (same slots, taps, files)
 *                                              │ any other exit, a stop or suspending marker, or ten quick reboots in a row
 *                                              ▼
 *                              write verdict ▶ clean /dev/vmm ▶ end the console reader ▶ remove status
 *
 * Arguments: FOLDER NAME BHYVE BHYVECTL CONSOLE VMM-ENTRY EVENTS BOOT LOG-LIMIT (octets of the console's log; a full one is kept beside a new one). It keeps `status` and `verdict` (see verdict.ts) by rename, and touches
 * EVENTS/NAME after each change, so that the agent sees all guests with one readdir. A file
 * `restore` names a saved guest that the first run of bhyve goes on with; any later one starts cold.
 *
 * The braces of sh parameter expansion are avoided on purpose: this is a template literal.
 */
export const supervisorScript = String.raw`#!/bin/sh
# Runs one bhyve guest and records how it ends. Written by nova-bhyve-agent at each start; do not edit.
set -u
umask 077
# A core would hold what devices had in flight for the tenant.
ulimit -c 0

size_of() {
	wc -c <"$1" 2>/dev/null || echo 0
}

# Copies the terminal on fd 3 into the log until it hangs up. In pieces, so that a guest that prints without end fills neither memory nor disk:
# after each piece the log is turned over if it is full. dd passes on what a read gave, at once.
copy_console() {
	copier=
	trap 'test -n "$copier" && kill "$copier" 2>/dev/null; exit 0' HUP INT TERM
	while :; do
		before=$(size_of console.log)
		if [ "$before" -gt "$1" ]; then
			mv -f console.log console.log.1
			before=0
		fi
		dd bs=4096 count=256 <&3 >>console.log 2>/dev/null &
		copier=$!
		wait "$copier"
		if [ "$(size_of console.log)" -eq "$before" ]; then return 0; fi
	done
}

# Reads the B side of the null modem into the log, again after each hang-up (bhyve closes its side at a reboot). Opening blocks
# until bhyve has opened the A side, so it is a child that can be killed.
console_reader() {
	folder=$1
	tty=$2
	limit=$3
	cd "$folder" || exit 1
	child=
	trap 'test -n "$child" && kill "$child" 2>/dev/null; exit 0' HUP INT TERM
	while [ -d "$folder" ]; do
		# Raw, or the line discipline would echo the guest's output back as its input.
		( stty raw -echo 2>/dev/null; exec 3<&0; copy_console "$limit" ) <"$tty" 2>/dev/null &
		child=$!
		wait "$child"
		child=
		sleep 0.5 &
		child=$!
		wait "$child"
		child=
	done
	exit 0
}

if [ "$1" = --console ]; then
	console_reader "$2" "$3" "$4"
fi

folder=$1
name=$2
bhyve=$3
bhyvectl=$4
console=$5
vmm=$6
events=$7
boot=$8
limit=$9

cd "$folder" || exit 1
# The host's shutdown signals everybody: stay to see how the guest ends. A handler, not "ignore": bhyve must start with the default.
trap : HUP INT TERM

# One supervisor for a folder. The agent looks in the process list too; this is for two starts at the same moment.
owner=
owner_boot=
if ! ( set -C; echo "$$ $boot" >supervisor.lock ) 2>/dev/null; then
	read -r owner owner_boot <supervisor.lock
	if [ "$owner_boot" = "$boot" ] && kill -0 "$owner" 2>/dev/null; then
		exit 0
	fi
	echo "$$ $boot" >supervisor.lock
fi

tell() {
	: >"$events/$name"
}

status() {
	printf 'phase=%s\nsupervisor=%s\nboot=%s\nrun=%s\npid=%s\nsince=%s\n' "$1" "$$" "$boot" "$run" "$pid" "$began" >status.new
	mv -f status.new status
	tell
}

clean() {
	if [ -e "$vmm" ]; then
		"$bhyvectl" "--vm=$name" --destroy >>bhyve.log 2>&1
	fi
}

# A signal to us interrupts wait while the guest lives on, and looks like the guest's own death by that signal. So a status above 128 is
# asked for again: shells say 127 for a child whose status they gave already, or the same status once more.
wait_for() {
	wait "$1"
	code=$?
	while [ "$code" -gt 128 ]; do
		wait "$1"
		again=$?
		if [ "$again" -eq 127 ]; then return 0; fi
		if [ "$again" -eq "$code" ] && ! kill -0 "$1" 2>/dev/null; then return 0; fi
		code=$again
	done
}

keep_log_small() {
	size=$(wc -c <bhyve.log 2>/dev/null || echo 0)
	if [ "$size" -gt 1048576 ]; then
		mv -f bhyve.log bhyve.log.1
	fi
}

# Each line of limits: rctl, and what to add to process:PID. A rule dies with its process, so each run of bhyve gets them anew.
hold_to_limits() {
	if [ ! -f limits ]; then return 0; fi
	while read -r rctl rule; do
		"$rctl" -a "process:$1:$rule" >>bhyve.log 2>&1 || echo "supervisor: not held to $rule" >>bhyve.log
	done <limits
}

/bin/sh "$0" --console "$folder" "$console" "$limit" >/dev/null 2>&1 &
reader=$!

# Of the first run only, whatever becomes of us: a guest that went on must never go back.
restore=
if [ -f restore ]; then
	read -r restore <restore
	rm -f restore
fi

run=0
quick=0
cleaned_again=no
reason=
clean
while :; do
	run=$((run + 1))
	began=$(date +%s)
	keep_log_small
	if [ -n "$restore" ]; then
		"$bhyve" -k bhyve.conf -r "$restore" "$name" >>bhyve.log 2>&1 &
	else
		"$bhyve" -k bhyve.conf "$name" >>bhyve.log 2>&1 &
	fi
	pid=$!
	restore=
	hold_to_limits "$pid"
	status running
	wait_for "$pid"
	ended=$(date +%s)
	lasted=$((ended - began))

	stopping=no
	suspending=no
	if [ -e stop ]; then stopping=yes; fi
	if [ -e suspending ]; then suspending=yes; fi

	if [ "$stopping" = no ] && [ "$suspending" = no ]; then
		if [ "$code" -eq 0 ]; then
			if [ "$lasted" -le 2 ]; then quick=$((quick + 1)); else quick=0; fi
			if [ "$quick" -lt 10 ]; then
				cleaned_again=no
				status restarting
				continue
			fi
			reason='the guest rebooted ten times within two seconds of starting'
		elif [ "$code" -eq 4 ] && [ "$run" -gt 1 ] && [ "$lasted" -le 5 ] && [ "$cleaned_again" = no ]; then
			# The VM that the reboot left could not be used again: once more with a new one.
			cleaned_again=yes
			clean
			status restarting
			continue
		fi
	fi
	break
done

printf 'exit=%s\nat=%s\nstopping=%s\nsuspending=%s\nrun=%s\nreason=%s\n' "$code" "$ended" "$stopping" "$suspending" "$run" "$reason" >verdict.new
mv -f verdict.new verdict
tell
clean
# The reader still has the last words to read; they must not stay in the null modem for the next guest on it.
sleep 0.3
kill "$reader" 2>/dev/null
wait "$reader" 2>/dev/null
rm -f status supervisor.lock
tell
`;
