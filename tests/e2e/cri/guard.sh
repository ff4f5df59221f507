# Keeps a machine of its own for a container runtime: guard.sh DIRECTORY NAMESPACE GROUP CGROUP, in a fresh mount
# namespace whose mounts are shared with the one outside. The machine is on the network of NAMESPACE, its runtime runs
# as GROUP, and its pods are in CGROUP. Prints the process id of the machine's first process.
#
# Its standard input ends with whoever started it, also when that was killed; then the machine ends, and what it left
# where others see it goes.
set -eu
directory=$1 network=$2 group=$3 cgroup=$4

end() {
    trap - EXIT
    if [ -s "$directory/first" ]; then
        kill -KILL "$(cat "$directory/first")" || :
    else
        kill -KILL $machine || :
    fi
    # Ends after everybody on the machine.
    wait || :
    for name in *; do
        if [ "$(stat -c %g "$name" 2>&1)" = "$group" ]; then
            ip netns del "$name"
        fi
    done
    for cgroups in "/sys/fs/cgroup/$cgroup" /sys/fs/cgroup/*/"$cgroup"; do
        tries=0
        # The kernel takes a moment to forget who lived there.
        while [ -d "$cgroups" ] && ! find "$cgroups" -depth -type d -exec rmdir {} +; do
            tries=$((tries + 1))
            [ $tries -lt 100 ]
            sleep 0.1
        done
    done
}

for place in / /proc /run /var/lib /sys/fs/cgroup "$directory"; do
    mount --make-private "$(stat -c %m "$place")"
done
mount --bind /run/netns "$directory/shared"
# Without what is mounted on them later, the files show who made them.
mount --bind /run/netns "$directory/names"
mount --make-private "$directory/names"
# Seen from here even when the directory goes.
cd "$directory/names"

nsenter --net="$network" unshare --pid --fork --kill-child --mount --propagation unchanged \
    sh "$directory/machine.sh" "$directory" "$directory/first" &
machine=$!
# Whoever listens may be gone.
trap '' PIPE
trap end EXIT
until [ -s "$directory/first" ]; do
    kill -0 $machine
    sleep 0.01
done
cat "$directory/first"
read -r _ || :
