"""CRI calls for a test: client.py SOCKET

Each line of input is a call, {"id", "method", "request", "timeout"}; each line of output is how one ended, in the
order in which they end: {"id", "reply"} or {"id", "error": {"code", "message"}}. Ends with its input.
"""

import concurrent.futures
import json
import sys
import threading

import grpc
from google.protobuf import json_format, message_factory

# More than a test ever has under way.
CALLS_AT_ONCE = 64

cri = grpc.protos("cri.proto")
service = cri.DESCRIPTOR.services_by_name["RuntimeService"]
# A runtime that comes back is noticed at once.
soon = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
]
channel = grpc.insecure_channel(f"unix:{sys.argv[1]}", options=soon)
output = threading.Lock()


def reply_to(call):
    method = service.methods_by_name[call["method"]]
    request_class = message_factory.GetMessageClass(method.input_type)
    reply_class = message_factory.GetMessageClass(method.output_type)
    invoke = channel.unary_unary(
        f"/{service.full_name}/{method.name}",
        request_serializer=request_class.SerializeToString,
        response_deserializer=reply_class.FromString,
    )
    request = json_format.ParseDict(call["request"], request_class())
    reply = invoke(request, timeout=call["timeout"])
    return json_format.MessageToDict(
        reply, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def perform(line):
    call = json.loads(line)
    try:
        ended = {"id": call["id"], "reply": reply_to(call)}
    except grpc.RpcError as error:
        ended = {"id": call["id"], "error": {"code": error.code().name, "message": error.details()}}
    except Exception as error:
        ended = {"id": call["id"], "error": {"code": "CLIENT", "message": repr(error)}}
    with output:
        print(json.dumps(ended), flush=True)


with concurrent.futures.ThreadPoolExecutor(CALLS_AT_ONCE) as threads:
    for line in sys.stdin:
        threads.submit(perform, line)
