"""One request to a Kubernetes API: SERVER CA TOKEN METHOD PATH, the body on standard input. Prints the answer."""

import ssl
import sys
import urllib.error
import urllib.request

server, authority, token, method, path = sys.argv[1:]
request = urllib.request.Request(
    server + path,
    data=sys.stdin.buffer.read() or None,
    method=method,
    headers={"Authorization": f"Bearer {token}", "Content-Type": "application/yaml"},
)
try:
    with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=authority), timeout=10) as answer:
        sys.stdout.write(answer.read().decode())
except urllib.error.HTTPError as refusal:
    sys.exit(f"{refusal.code}: {refusal.read().decode()}")
except OSError as why:
    sys.exit(str(why))
