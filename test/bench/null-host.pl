#!/usr/bin/perl
# Every FreeBSD tool of a null node (null-node.ts), in one program: what it is called as decides what it is. It costs what a small C program
# costs (about 2 ms), because it must not be what the benchmark measures. Perl, because every Debian has it and it starts that fast.
#
# It keeps the promises that the agent relies on and nothing more:
#   bhyve     makes its /dev/vmm entry and null modem, takes its title, waits for signals; no machine is behind it
#   zfs       datasets are folders of NODE/pool with one file of properties; a volume is an empty file under NODE/dev/zvol
#   bhyvectl  with etc/saves in the node it can suspend
#   ps, sysctl, kldstat, daemon, limits …  as far as they are asked
# What a null node does not have fails as on a host without it. The real behaviour is the business of test/lab.
use strict;
use warnings;

my ($node, $tool) = $0 =~ m{^(.*)/bin/([^/]+)$} or die "called by a strange name: $0\n";
my ($pool, $volumes) = ("$node/pool", "$node/dev/zvol");

sub fail { my ($code, $text) = @_; print STDERR "$text\n"; exit $code; }
sub slurp { my ($path) = @_; open(my $file, '<', $path) or return scalar(undef); local $/; my $text = <$file>; close $file; return $text; }
sub make_path { my ($path) = @_; return if -d $path; (my $parent = $path) =~ s{/[^/]+$}{}; make_path($parent); mkdir $path; }
sub remove_tree { my ($path) = @_; if (-d $path && !-l $path) { opendir(my $folder, $path) or return; remove_tree("$path/$_") for grep { !/^\.\.?$/ } readdir $folder; rmdir $path; } else { unlink $path; } }
sub write_file { my ($path, $text) = @_; open(my $file, '>', "$path.$$") or fail(1, "$path: $!"); print $file $text; close $file; rename("$path.$$", $path) or fail(1, "$path: $!"); }

# --- zfs ---------------------------------------------------------------------------------------------------------------------------

sub properties_of { my ($name) = @_; my $text = slurp("$pool/$name/.properties"); return defined $text ? { map { split /\t/, $_, 2 } split /\n/, $text } : undef; }
sub save_properties { my ($name, $values) = @_; write_file("$pool/$name/.properties", join('', map { "$_\t$values->{$_}\n" } sort keys %$values)); }
sub missing { my ($name) = @_; fail(1, "cannot open '$name': dataset does not exist"); }

sub make_dataset {
	my ($name, %values) = @_;
	fail(1, "cannot create '$name': dataset already exists") if -e "$pool/$name/.properties";
	(my $parent = $name) =~ s{/[^/]+$}{};
	fail(1, "cannot create '$name': parent does not exist") unless -d "$pool/$parent";
	mkdir "$pool/$name";
	if ($values{type} eq 'volume') {
		make_path("$volumes/$parent");
		open(my $file, '>>', "$volumes/$name") or fail(1, "$name: $!");
	} else { make_path("$volumes/$name"); }
	save_properties($name, { creation => time, %values });
}

# Name, then everything below it: snapshots first, as zfs lists them.
sub tree {
	my ($name) = @_;
	my @found = ($name);
	opendir(my $folder, "$pool/$name") or return @found;
	my @entries = sort readdir $folder;
	push @found, map { "$name\@" . substr($_, 1) } grep { /^\@/ } @entries;
	push @found, map { tree("$name/$_") } grep { !/^[.\@]/ } @entries;
	return @found;
}

my %native = (used => 1048576, available => 10995116277760, referenced => 1048576, logicalused => 1048576, volmode => 'dev', mountpoint => 'none');

sub zfs_get {
	my ($is_recursive, $wanted, $name) = @_;
	missing($name) unless -e "$pool/$name/.properties";
	my $out = '';
	for my $each ($is_recursive ? tree($name) : ($name)) {
		my $own = properties_of(place_of($each));
		next unless $own; # it went while we looked
		for my $key (split /,/, $wanted) {
			my ($value, $source) = exists $own->{$key} ? ($own->{$key}, $key =~ /^(type|volsize|origin|creation|createtxg)$/ ? '-' : 'local')
				: $key eq 'volsize' || !exists $native{$key} ? ('-', '-') : ($native{$key}, '-');
			$out .= "$each\t$key\t$value\t$source\n";
		}
	}
	print $out;
}

# A snapshot is a folder in that of its dataset.
sub place_of { my ($name) = @_; $name =~ s{\@}{/\@}; return $name; }

sub take_snapshot {
	my ($name, %values) = @_;
	my ($of) = split /@/, $name;
	my $origin = properties_of($of) or missing($of);
	mkdir "$pool/" . place_of($name);
	my $size = $origin->{volsize};
	save_properties(place_of($name), { type => 'snapshot', creation => time, createtxg => time, (defined $size ? (volsize => $size) : ()), %values });
}

sub zfs {
	my ($verb, @rest) = @_;
	my (%values, @names, $wanted, $is_recursive, $size);
	while (@rest) {
		my $word = shift @rest;
		if ($word eq '-o' && $verb eq 'get') { shift @rest; }
		elsif ($word eq '-o') { my ($key, $value) = split /=/, shift @rest, 2; $values{$key} = $value; }
		elsif ($word eq '-t' || $word eq '-b') { shift @rest; }
		elsif ($word eq '-V') { $size = shift @rest; }
		elsif ($word =~ /^-/) { $is_recursive = 1 if $word =~ /r/; }
		else { push @names, $word; }
	}
	if ($verb eq 'get') { return zfs_get($is_recursive, @names); }
	if ($verb eq 'create') { return make_dataset($names[0], %values, defined $size ? (type => 'volume', volsize => $size) : (type => 'filesystem')); }
	if ($verb eq 'snapshot') { take_snapshot($_, %values) for @names; return; }
	if ($verb eq 'clone') {
		my ($of) = split /@/, $names[0];
		my $origin = properties_of($of) or missing($names[0]);
		return make_dataset($names[1], type => 'volume', volsize => $origin->{volsize}, origin => $names[0], %values);
	}
	if ($verb eq 'set') {
		my $name = pop @names;
		my $values = properties_of(place_of($name)) or missing($name);
		for (@names) { my ($key, $value) = split /=/, $_, 2; $values->{$key} = $value; }
		return save_properties(place_of($name), $values);
	}
	my ($from, $to) = map { place_of($_) } @names;
	-e "$pool/$from" or missing($from);
	if ($verb eq 'rename') {
		rename("$pool/$from", "$pool/$to") or fail(1, "cannot rename '$from': $!");
		(my $parent = $to) =~ s{/[^/]+$}{};
		make_path("$volumes/$parent");
		rename("$volumes/$from", "$volumes/$to");
		return;
	}
	if ($verb eq 'destroy') { remove_tree($_) for "$pool/$from", "$volumes/$from"; return; }
	fail(2, "unrecognized command '$verb'");
}

# --- guests and processes ----------------------------------------------------------------------------------------------------------

my $modem;

# Saves, on a node with etc/saves: memory is written and read as fast as the disk takes it, the rest is what the agent looks at (bhyve 15).
sub save {
	my ($name, $config, $file) = @_;
	my ($size) = $config =~ /^memory\.size=(\d+)M/m;
	my ($cpus) = $config =~ /^cpus=(\d+)/m;
	open(my $random, '<', '/dev/urandom') or return;
	sysread($random, my $piece, 1 << 20);
	open(my $memory, '>', $file) or return;
	for (1 .. $size) { syswrite($memory, $piece) == length $piece or return; }
	close $memory;
	my $offset = 0;
	my $part = sub { my ($device) = @_; my $text = qq({"device": "$device", "size": 512, "file_offset": $offset}); $offset += 512; $text; };
	my $kernel = join(', ', map { $part->($_) } qw(vhpet vm vioapic vlapic vmcx vatpit vatpic vpmtmr vrtc));
	my $devices = join(', ', map { $part->($_) } (map { "$_->[1]\@pci.0.$_->[0].0" } sort { $a->[0] <=> $b->[0] } map { [/^(\d+) (.*)$/] } map { "$1 $2" if /^pci\.0\.(\d+)\.0\.device=(.+)$/ } grep { /^pci\.0\.\d+\.0\.device=/ } split /\n/, $config), 'atkbdc');
	write_file("$file.kern", "\0" x $offset);
	write_file("$file.meta", sprintf('{"basic metadata": {"ncpus": %d, "vmname": "%s", "memsize": %d, "memflags": 0}, "kern_structs": [%s], "devices": [%s]}', $cpus, $name, $size << 20, $kernel, $devices));
	unlink "$node/dev/vmm/$name";
	exit 5;
}

sub read_memory { my ($file) = @_; open(my $memory, '<', $file) or fail(1, "Failed to open restore file: $!"); while (sysread($memory, my $piece, 1 << 20)) { } }

sub bhyve {
	my @args = @_;
	if (grep { $_ eq 'help' } @args) { print "$_\n" for qw(hostbridge amd_hostbridge lpc virtio-blk virtio-net virtio-rnd virtio-console ahci ahci-hd ahci-cd nvme e1000 fbuf xhci); return 0; }
	if (grep { /config\.dump/ } @args) { print "lpc.bootrom=/nonexistent\n"; return 1; }
	my $name = $args[-1];
	for (0 .. $#args - 1) { read_memory($args[$_ + 1]) if $args[$_] eq '-r'; }
	my $config = slurp("bhyve.conf") // '';
	my ($console) = $config =~ m{^(?:lpc\.)?com1\.path=\S*?(nmdm\d+)A}m;
	mkdir "$node/dev/vmm";
	write_file("$node/dev/vmm/$name", "$$\n");
	if (defined $console) {
		for my $side ('A', 'B') { my $path = "$node/dev/$console$side"; system('mkfifo', $path) unless -e $path; }
		open($modem, '+<', "$node/dev/${console}B"); # held open: its reader waits and is never woken
	}
	$0 = "bhyve: $name";
	$SIG{TERM} = sub { exit 1 }; # the power button, and a guest that obeys: powered off
	$SIG{USR1} = sub { my $file = slurp("$node/run/save-$name"); save($name, $config, $file) if defined $file; };
	sleep 100_000 while 1;
}

sub bhyvectl {
	my %asked = map { /^--([^=]+)(?:=(.*))?$/ ? ($1 => $2 // '') : () } @_;
	if (!%asked) { print STDERR "Usage: bhyvectl --vm=<vmname>\n", -e "$node/etc/saves" ? "       [--suspend=<filename>]\n" : ''; return 1; }
	my $entry = "$node/dev/vmm/" . ($asked{vm} // '');
	my $pid = slurp($entry);
	fail(1, "vm_open: $asked{vm} could not be opened: No such file or directory") unless defined $pid;
	kill('TERM', $pid) if exists $asked{'force-poweroff'} || exists $asked{destroy};
	if (exists $asked{suspend}) { write_file("$node/run/save-$asked{vm}", $asked{suspend}); kill('USR1', $pid); }
	unlink $entry if exists $asked{destroy};
	printf "%-40s\t%d\n", 'vcpu total runtime', 2_600_000_000 if exists $asked{'get-stats'};
	return 0;
}

my ($boot_time) = (slurp('/proc/stat') // '') =~ /^btime (\d+)/m;

# By its environment; or, because a title is written over that, by the folder that it works in.
sub is_ours {
	my ($pid) = @_;
	return index("\0" . (slurp("/proc/$pid/environ") // ''), "\0LAB_NODE=$node\0") >= 0 || index(readlink("/proc/$pid/cwd") // '', "$node/") == 0;
}

sub process_line {
	my ($pid) = @_;
	return '' unless is_ours($pid);
	my ($fields) = (slurp("/proc/$pid/stat") // return '') =~ /^.*\) (.*)$/s;
	my @f = split / /, $fields;
	my $command = slurp("/proc/$pid/cmdline") // return '';
	$command =~ s/[\0 ]+$//;
	$command =~ tr/\0/ /;
	my $ticks = $f[11] + $f[12];
	return sprintf("%5d %5d %s %6d %3d:%05.2f %-4s %s\n", $pid, $f[1], scalar gmtime($boot_time + int($f[19] / 100)), $f[21] * 4, int($ticks / 6000), ($ticks % 6000) / 100, $f[0], $command);
}

sub ps {
	my @args = @_;
	my ($place) = grep { $args[$_] eq '-p' } 0 .. $#args;
	my @pids = defined $place ? ($args[$place + 1]) : do { opendir(my $folder, '/proc'); sort { $a <=> $b } grep { /^\d+$/ } readdir $folder; };
	my @lines = grep { $_ ne '' } map { process_line($_) } @pids;
	print "  PID  PPID STARTED                     RSS      TIME STAT COMMAND\n", @lines;
	return defined $place && !@lines ? 1 : 0;
}

# Without standard streams and in a session of its own, as the child of nobody.
sub daemon {
	my @args = @_;
	while (@args && $args[0] =~ /^-/) { my $flag = shift @args; shift @args if $flag =~ /[pPRotTlsmu]$/; }
	my $pid = fork // fail(1, "daemon: $!");
	return 0 if $pid;
	require POSIX;
	POSIX::setsid();
	chdir '/';
	open(STDIN, '<', '/dev/null'); open(STDOUT, '>', '/dev/null'); open(STDERR, '>', '/dev/null');
	$ENV{LAB_NODE} = $node;
	exec @args;
	exit 1;
}

# --- small answers -----------------------------------------------------------------------------------------------------------------

# A host with room for 1,000 small guests, so that it is never the scheduler that says no.
my %sysctl = (
	'hw.machine_arch' => 'amd64', 'hw.model' => 'AMD EPYC Processor', 'hw.ncpu' => 256, 'kern.smp.cores' => 256, 'kern.smp.threads_per_core' => 1, 'hw.physmem' => 549755813888,
	'hw.pagesize' => 4096, 'vm.stats.vm.v_free_count' => 130000000, 'vm.stats.vm.v_inactive_count' => 0, 'vm.stats.vm.v_laundry_count' => 0, 'vm.stats.vm.v_cache_count' => 0,
	'kstat.zfs.misc.arcstats.size' => 0, 'kern.osrelease' => '13.2-RELEASE', 'kern.osreldate' => 1302001, 'kern.hostname' => 'null', 'hw.vmm.svm.features' => 1,
	'hw.vmm.vmx.initialized' => 0, 'hw.vmm.maxcpu' => 64, 'machdep.tsc_freq' => 2600000000,
);

sub sysctl {
	my $is_bare = grep { $_ eq '-n' } @_;
	my $is_lenient = grep { $_ eq '-i' } @_;
	my $code = 0;
	for my $name (grep { !/^-/ } @_) {
		my $value = $name eq 'kern.boottime' ? "{ sec = $boot_time, usec = 0 } " . gmtime($boot_time) : $sysctl{$name};
		if (defined $value) { print $is_bare ? "$value\n" : "$name=$value\n"; }
		elsif (!$is_lenient) { print STDERR "sysctl: unknown oid '$name'\n"; $code = 1; }
	}
	return $code;
}

sub limits { my @args = @_; while (@args && $args[0] =~ /^-/) { splice(@args, 0, 2); } exec @args or fail(127, "limits: $!"); }

my %answers = (
	'freebsd-version' => "13.2-RELEASE\n", uname => "FreeBSD\n", uptime => "12:00PM  up 1 day,  2:00, 0 users, load averages: 0.10, 0.10, 0.10\n", ifconfig => '', kldstat => '', kldload => '',
	zpool => "ONLINE\n", pciconf => '',
);

if ($tool eq 'zfs') { zfs(@ARGV); exit 0; }
if ($tool eq 'netstat') { print '{"statistics":{"socket":[],"interface":[]}}', "\n"; exit 0; }
exit bhyve(@ARGV) if $tool eq 'bhyve';
exit bhyvectl(@ARGV) if $tool eq 'bhyvectl';
exit ps(@ARGV) if $tool eq 'ps';
exit daemon(@ARGV) if $tool eq 'daemon';
exit sysctl(@ARGV) if $tool eq 'sysctl';
limits(@ARGV) if $tool eq 'limits';
fail(1, "$tool: not on a null node") unless exists $answers{$tool};
print $answers{$tool};
exit 0;
