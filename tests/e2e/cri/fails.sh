#!/bin/sh
# A CNI plugin whose ADD fails.
[ "$CNI_COMMAND" = ADD ] || exit 0
echo '{"cniVersion":"1.0.0","code":142,"msg":"out of order"}'
exit 1
