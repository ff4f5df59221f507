"""A node on moto: EC2 by moto, metadata by the few lines below, both on loopback, until standard input ends.

Prints one line of JSON: the endpoints, and the ids that moto made up. moto has a metadata service of its own, but
it omits the token's lifetime, without which the AWS SDK takes no token, and everything about interfaces.
"""

import http.server
import json
import random
import sys
import threading

import boto3
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"
ZONE = "eu-central-1a"


class Metadata(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    tree = {}

    def log_message(self, *_):
        pass

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "300")
        self.end_headers()
        self.wfile.write(body.encode())
        self.wfile.flush()

    def do_PUT(self):
        self.reply(200 if self.path == "/latest/api/token" else 404, "token")

    def do_GET(self):
        value = self.tree.get(self.path.removeprefix("/latest/meta-data/"))
        if self.headers.get("X-Aws-Ec2-Metadata-Token") != "token":
            self.reply(401, "")
        elif value is None:
            self.reply(404, "")
        else:
            self.reply(200, value)


def main():
    # moto draws addresses, and takes one again that an interface has already.
    random.seed(1)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    ec2 = boto3.client("ec2", REGION, endpoint_url=endpoint, aws_access_key_id="a", aws_secret_access_key="b")

    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    first, second = (
        ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=ZONE)["Subnet"]["SubnetId"]
        for cidr in ("10.0.0.0/18", "10.0.64.0/18")
    )
    ec2.create_tags(
        Resources=[second],
        Tags=[
            {"Key": "kubernetes.io/role/cni", "Value": "1"},
            {"Key": "cni.networking.k8s.aws/cluster/blue", "Value": "shared"},
        ],
    )
    image = ec2.describe_images()["Images"][0]["ImageId"]
    launched = ec2.run_instances(ImageId=image, InstanceType="m5.large", SubnetId=first, MinCount=1, MaxCount=1)
    instance = launched["Instances"][0]
    interface = instance["NetworkInterfaces"][0]
    mac = interface["MacAddress"]
    at = f"network/interfaces/macs/{mac}"
    role = {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "a", "SecretAccessKey": "b", "Token": "c"}
    role |= {"LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2099-01-01T00:00:00Z"}
    Metadata.tree = {
        "instance-id": instance["InstanceId"],
        "instance-type": instance["InstanceType"],
        "placement/region": REGION,
        "placement/availability-zone": ZONE,
        "mac": mac,
        "local-ipv4": interface["PrivateIpAddress"],
        f"{at}/interface-id": interface["NetworkInterfaceId"],
        f"{at}/subnet-id": first,
        f"{at}/vpc-id": vpc,
        f"{at}/security-group-ids": "\n".join(group["GroupId"] for group in interface["Groups"]),
        f"{at}/vpc-ipv4-cidr-blocks": "10.0.0.0/16",
        "iam/security-credentials/": "node",
        "iam/security-credentials/node": json.dumps(role),
    }
    metadata = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=metadata.serve_forever, daemon=True).start()
    imds = f"http://127.0.0.1:{metadata.server_address[1]}"
    print(json.dumps({"ec2": endpoint, "imds": imds, "second_subnet": second}), flush=True)
    sys.stdin.read()


main()
