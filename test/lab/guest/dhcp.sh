#!/bin/busybox sh
# udhcpc's hook: takes the lease and tells.
[ "$1" = bound ] || exit 0
ip addr add "$ip/${mask:-24}" dev "$interface"
[ -n "$router" ] && ip route add default via "${router%% *}" dev "$interface"
echo "guest: net $interface dhcp $ip/${mask:-24}"
