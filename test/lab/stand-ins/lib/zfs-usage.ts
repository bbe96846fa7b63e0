/** Usage texts of zfs(8) 2.1.9, from test/samples/freebsd-13.2/zfs.json. */

/** What `zfs` without arguments prints below its first line. */
export const zfsUsage = `usage: zfs command args ...
where 'command' is one of the following:

	version

	create [-Pnpuv] [-o property=value] ... <filesystem>
	create [-Pnpsv] [-b blocksize] [-o property=value] ... -V <size> <volume>
	destroy [-fnpRrv] <filesystem|volume>
	destroy [-dnpRrv] <filesystem|volume>@<snap>[%<snap>][,...]
	destroy <filesystem|volume>#<bookmark>

	snapshot [-r] [-o property=value] ... <filesystem|volume>@<snap> ...
	rollback [-rRf] <snapshot>
	clone [-p] [-o property=value] ... <snapshot> <filesystem|volume>
	promote <clone-filesystem>
	rename [-f] <filesystem|volume|snapshot> <filesystem|volume|snapshot>
	rename -p [-f] <filesystem|volume> <filesystem|volume>
	rename -u [-f] <filesystem> <filesystem>
	rename -r <snapshot> <snapshot>
	bookmark <snapshot|bookmark> <newbookmark>
	program [-jn] [-t <instruction limit>] [-m <memory limit (b)>]
	    <pool> <program file> [lua args...]

	list [-Hp] [-r|-d max] [-o property[,...]] [-s property]...
	    [-S property]... [-t type[,...]] [filesystem|volume|snapshot] ...

	set <property=value> ... <filesystem|volume|snapshot> ...
	get [-rHp] [-d max] [-o "all" | field[,...]]
	    [-t type[,...]] [-s source[,...]]
	    <"all" | property[,...]> [filesystem|volume|snapshot|bookmark] ...
	inherit [-rS] <property> <filesystem|volume|snapshot> ...
	upgrade [-v]
	upgrade [-r] [-V version] <-a | filesystem ...>

	userspace [-Hinp] [-o field[,...]] [-s field] ...
	    [-S field] ... [-t type[,...]] <filesystem|snapshot|path>
	groupspace [-Hinp] [-o field[,...]] [-s field] ...
	    [-S field] ... [-t type[,...]] <filesystem|snapshot|path>
	projectspace [-Hp] [-o field[,...]] [-s field] ... 
	    [-S field] ... <filesystem|snapshot|path>

	project [-d|-r] <directory|file ...>
	project -c [-0] [-d|-r] [-p id] <directory|file ...>
	project -C [-k] [-r] <directory ...>
	project [-p id] [-r] [-s] <directory ...>

	mount
	mount [-flvO] [-o opts] <-a | filesystem>
	unmount [-fu] <-a | filesystem|mountpoint>
	share [-l] <-a [nfs|smb] | filesystem>
	unshare <-a [nfs|smb] | filesystem|mountpoint>

	send [-DnPpRvLecwhb] [-[i|I] snapshot] <snapshot>
	send [-DnvPLecw] [-i snapshot|bookmark] <filesystem|volume|snapshot>
	send [-DnPpvLec] [-i bookmark|snapshot] --redact <bookmark> <snapshot>
	send [-nvPe] -t <receive_resume_token>
	send [-Pnv] --saved filesystem
	receive [-vMnsFhu] [-o <property>=<value>] ... [-x <property>] ...
	    <filesystem|volume|snapshot>
	receive [-vMnsFhu] [-o <property>=<value>] ... [-x <property>] ... 
	    [-d | -e] <filesystem>
	receive -A <filesystem|volume>

	allow <filesystem|volume>
	allow [-ldug] <"everyone"|user|group>[,...] <perm|@setname>[,...]
	    <filesystem|volume>
	allow [-ld] -e <perm|@setname>[,...] <filesystem|volume>
	allow -c <perm|@setname>[,...] <filesystem|volume>
	allow -s @setname <perm|@setname>[,...] <filesystem|volume>

	unallow [-rldug] <"everyone"|user|group>[,...]
	    [<perm|@setname>[,...]] <filesystem|volume>
	unallow [-rld] -e [<perm|@setname>[,...]] <filesystem|volume>
	unallow [-r] -c [<perm|@setname>[,...]] <filesystem|volume>
	unallow [-r] -s @setname [<perm|@setname>[,...]] <filesystem|volume>

	hold [-r] <tag> <snapshot> ...
	holds [-rH] <snapshot> ...
	release [-r] <tag> <snapshot> ...
	diff [-FHt] <snapshot> [snapshot|filesystem]
	load-key [-rn] [-L <keylocation>] <-a | filesystem|volume>
	unload-key [-r] <-a | filesystem|volume>
	change-key [-l] [-o keyformat=<value>]
	    [-o keylocation=<value>] [-o pbkdf2iters=<value>]
	    <filesystem|volume>
	change-key -i [-l] <filesystem|volume>
	redact <snapshot> <bookmark> <redaction_snapshot> ...
	wait [-t <activity>] <filesystem>
	jail <jailid|jailname> <filesystem>
	unjail <jailid|jailname> <filesystem>

Each dataset is of the form: pool/[dataset/]*dataset[@name]

For the property list, run: zfs set|get

For the delegated permission list, run: zfs allow|unallow
`;

const properties = `The following properties are supported:

	PROPERTY       EDIT  INHERIT   VALUES

	available        NO       NO   <size>
	clones           NO       NO   <dataset>[,...]
	compressratio    NO       NO   <1.00x or higher if compressed>
	createtxg        NO       NO   <uint64>
	creation         NO       NO   <date>
	defer_destroy    NO       NO   yes | no
	encryptionroot   NO       NO   <filesystem | volume>
	filesystem_count  NO       NO   <count>
	guid             NO       NO   <uint64>
	keystatus        NO       NO   none | unavailable | available
	logicalreferenced  NO       NO   <size>
	logicalused      NO       NO   <size>
	mounted          NO       NO   yes | no
	objsetid         NO       NO   <uint64>
	origin           NO       NO   <snapshot>
	receive_resume_token  NO       NO   <string token>
	redact_snaps     NO       NO   <snapshot>[,...]
	refcompressratio  NO       NO   <1.00x or higher if compressed>
	referenced       NO       NO   <size>
	snapshot_count   NO       NO   <count>
	type             NO       NO   filesystem | volume | snapshot | bookmark
	used             NO       NO   <size>
	usedbychildren   NO       NO   <size>
	usedbydataset    NO       NO   <size>
	usedbyrefreservation  NO       NO   <size>
	usedbysnapshots  NO       NO   <size>
	userrefs         NO       NO   <count>
	written          NO       NO   <size>
	aclinherit      YES      YES   discard | noallow | restricted | passthrough | passthrough-x
	aclmode         YES      YES   discard | groupmask | passthrough | restricted
	acltype         YES      YES   off | nfsv4 | posix
	atime           YES      YES   on | off
	canmount        YES       NO   on | off | noauto
	casesensitivity  NO      YES   sensitive | insensitive | mixed
	checksum        YES      YES   on | off | fletcher2 | fletcher4 | sha256 | sha512 | skein
	compression     YES      YES   on | off | lzjb | gzip | gzip-[1-9] | zle | lz4 | zstd | zstd-[1-19] | zstd-fast | zstd-fast-[1-10,20,30,40,50,60,70,80,90,100,500,1000]
	context         YES       NO   <selinux context>
	copies          YES      YES   1 | 2 | 3
	dedup           YES      YES   on | off | verify | sha256[,verify] | sha512[,verify] | skein[,verify]
	defcontext      YES       NO   <selinux defcontext>
	devices         YES      YES   on | off
	dnodesize       YES      YES   legacy | auto | 1k | 2k | 4k | 8k | 16k
	encryption       NO      YES   on | off | aes-128-ccm | aes-192-ccm | aes-256-ccm | aes-128-gcm | aes-192-gcm | aes-256-gcm
	exec            YES      YES   on | off
	filesystem_limit YES       NO   <count> | none
	fscontext       YES       NO   <selinux fscontext>
	jailed          YES      YES   on | off
	keyformat        NO       NO   none | raw | hex | passphrase
	keylocation     YES       NO   prompt | <file URI> | <https URL> | <http URL>
	logbias         YES      YES   latency | throughput
	mlslabel        YES      YES   <sensitivity label>
	mountpoint      YES      YES   <path> | legacy | none
	nbmand          YES      YES   on | off
	normalization    NO      YES   none | formC | formD | formKC | formKD
	overlay         YES      YES   on | off
	pbkdf2iters      NO       NO   <iters>
	primarycache    YES      YES   all | none | metadata
	quota           YES       NO   <size> | none
	readonly        YES      YES   on | off
	recordsize      YES      YES   512 to 1M, power of 2
	redundant_metadata YES      YES   all | most | some | none
	refquota        YES       NO   <size> | none
	refreservation  YES       NO   <size> | none
	relatime        YES      YES   on | off
	reservation     YES       NO   <size> | none
	rootcontext     YES       NO   <selinux rootcontext>
	secondarycache  YES      YES   all | none | metadata
	setuid          YES      YES   on | off
	sharenfs        YES      YES   on | off | NFS share options
	sharesmb        YES      YES   on | off | SMB share options
	snapdev         YES      YES   hidden | visible
	snapdir         YES      YES   hidden | visible
	snapshot_limit  YES       NO   <count> | none
	special_small_blocks YES      YES   zero or 512 to 1M, power of 2
	sync            YES      YES   standard | always | disabled
	utf8only         NO      YES   on | off
	version         YES       NO   1 | 2 | 3 | 4 | 5 | current
	volblocksize     NO      YES   512 to 128k, power of 2
	volmode         YES      YES   default | full | geom | dev | none
	volsize         YES       NO   <size>
	vscan           YES      YES   on | off
	xattr           YES      YES   on | off | dir | sa
	userused@...     NO       NO   <size>
	groupused@...    NO       NO   <size>
	projectused@...  NO       NO   <size>
	userobjused@...  NO       NO   <size>
	groupobjused@...  NO       NO   <size>
	projectobjused@...  NO       NO   <size>
	userquota@...   YES       NO   <size> | none
	groupquota@...  YES       NO   <size> | none
	projectquota@... YES       NO   <size> | none
	userobjquota@... YES       NO   <size> | none
	groupobjquota@... YES       NO   <size> | none
	projectobjquota@... YES       NO   <size> | none
	written@<snap>   NO       NO   <size>
	written#<bookmark>  NO       NO   <size>

Sizes are specified in bytes with standard units such as K, M, G, etc.

User-defined properties can be specified by using a name containing a colon (:).

The {user|group|project}[obj]{used|quota}@ properties must be appended with
a user|group|project specifier of one of these forms:
    POSIX name      (eg: "matt")
    POSIX id        (eg: "126829")
    SMB name@domain (eg: "matt@sun")
    SMB SID         (eg: "S-1-234-567-89")
`;

/** The lines of one command: its own line and those that go on from it. */
export function zfsCommandUsage(command: string): string {
  const lines: string[] = [];
  let isTaking = false;
  for (const line of zfsUsage.split('\n').slice(3)) {
    if (/^\t\S/.test(line)) isTaking = line.startsWith(`\t${command} `) || line === `\t${command}`;
    else if (!line.startsWith('\t ')) isTaking = false;
    if (isTaking) lines.push(`${line}\n`);
  }
  return lines.join('');
}

/** What follows a command's usage: the table of properties, or where to find it. */
export function propertyUsage(command: string): string {
  return ['list', 'get', 'set', 'inherit'].includes(command)
    ? properties
    : '\nFor the property list, run: zfs set|get\n\nFor the delegated permission list, run: zfs allow|unallow\n'.slice(1);
}
