# Becomes the first process of a machine: machine.sh DIRECTORY FILE, in fresh process and mount namespaces of the
# guard's. Writes the process id that it has outside into FILE.
#
# What it shares with the world outside is /run/netns, where the node's agents look for sandboxes; everything else that
# a runtime leaves under /run and /var/lib goes with the machine.
set -eu
directory=$1
read -r pid _ </proc/self/stat
mount -t proc proc /proc
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir /run/netns
mount --bind "$directory/shared" /run/netns
mount -t tmpfs -o mode=0755 tmpfs /var/lib
echo "$pid" >"$2.new"
mv "$2.new" "$2"
exec "$directory/pause"
