"""Instance metadata, version 2, by plain HTTP and by the SDK's own credentials chain."""

import json
import os
import time
import unittest.mock
import urllib.error
import urllib.request

import botocore.session
import botocore.utils

from lab import Lab

TOKEN = "X-aws-ec2-metadata-token"
TTL = "X-aws-ec2-metadata-token-ttl-seconds"


class Metadata(Lab):
    environment = {"ENID_EC2_METADATA_LAG_MS": "300"}

    def ask(self, path, method="GET", **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.world["imds"] + path, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.read().decode(), answer.headers

    def token(self, ttl="60"):
        status, token, headers = self.ask("/latest/api/token", "PUT", **{TTL: ttl})
        self.assertEqual((status, headers[TTL]), (200, ttl))
        return token

    def get(self, path):
        status, text, _ = self.ask(f"/latest/{path}", **{TOKEN: self.token()})
        return text if status == 200 else None

    def test_nothing_is_told_without_a_token(self):
        self.assertEqual(self.ask("/latest/meta-data/instance-id")[0], 401)
        self.assertEqual(self.ask("/latest/meta-data/instance-id", **{TOKEN: "AQAEA=="})[0], 401)
        self.assertEqual(self.ask("/latest/meta-data/instance-id", "POST", **{TOKEN: self.token()})[0], 405)

    def test_a_token_needs_a_lifetime_and_no_proxy(self):
        for ttl, status in [("0", 400), ("21601", 400), ("soon", 400), ("1", 200), ("21600", 200)]:
            self.assertEqual(self.ask("/latest/api/token", "PUT", **{TTL: ttl})[0], status, ttl)
        self.assertEqual(self.ask("/latest/api/token", "PUT")[0], 400)
        self.assertEqual(self.ask("/latest/api/token", "PUT", **{TTL: "60", "X_Forwarded_For": "::1"})[0], 403)

    def test_the_instance_describes_itself(self):
        self.assertEqual(self.get("meta-data/instance-id"), self.world["instance"])
        self.assertEqual(self.get("meta-data/instance-type"), "m5.large")
        self.assertEqual(self.get("meta-data/placement/"), "availability-zone\navailability-zone-id\nregion")
        self.assertEqual(self.get("meta-data/placement/region"), "eu-central-1")
        self.assertEqual(self.get("meta-data/placement/availability-zone"), "eu-central-1a")
        self.assertEqual(self.get("meta-data/services/domain"), "amazonaws.com")
        self.assertEqual(self.get("meta-data/security-groups"), "default")
        self.assertIsNone(self.get("meta-data/spot/instance-action"))
        self.assertIsNone(self.get("user-data"))
        document = json.loads(self.get("dynamic/instance-identity/document"))
        self.assertEqual(document["instanceId"], self.world["instance"])
        self.assertEqual(document["privateIp"], self.get("meta-data/local-ipv4"))
        entries = self.get("meta-data/").split("\n")
        self.assertIn("instance-id", entries)
        self.assertIn("network/", entries)

    def test_interfaces_appear_with_a_lag(self):
        self.assertEqual(self.get("meta-data/network/interfaces/macs/"), self.get("meta-data/mac") + "/")
        eni = self.create(SecondaryPrivateIpAddressCount=1, Ipv4PrefixCount=0)
        own, mac = eni["NetworkInterfaceId"], eni["MacAddress"]
        attachment = self.attach(own, 1)
        macs = self.get("meta-data/network/interfaces/macs/").split("\n")
        self.assertNotIn(f"{mac}/", macs, "metadata lags behind")
        self.wait_for(f"{mac}/", "meta-data/network/interfaces/macs")
        at = f"meta-data/network/interfaces/macs/{mac}/"
        names = self.get(at).split("\n")
        self.assertNotIn("ipv4-prefix", names)
        facts = {name: self.get(at + name) for name in names}
        self.assertEqual(
            facts,
            {
                "device-number": "1",
                "interface-id": own,
                "local-hostname": eni["PrivateDnsName"],
                "local-ipv4s": "\n".join(it["PrivateIpAddress"] for it in eni["PrivateIpAddresses"]),
                "mac": mac,
                "network-card": "0",
                "owner-id": "123456789012",
                "security-group-ids": eni["Groups"][0]["GroupId"],
                "security-groups": "default",
                "subnet-id": self.world["wide"],
                "subnet-ipv4-cidr-block": "10.0.1.0/24",
                "vpc-id": self.world["vpc"],
                "vpc-ipv4-cidr-block": "10.0.0.0/16",
                "vpc-ipv4-cidr-blocks": "10.0.0.0/16\n100.64.0.0/16",
            },
        )
        answer = self.ec2.assign_private_ip_addresses(NetworkInterfaceId=own, Ipv4PrefixCount=1)
        self.wait_for("ipv4-prefix", at)
        self.assertEqual(self.get(at + "ipv4-prefix"), answer["AssignedIpv4Prefixes"][0]["Ipv4Prefix"])
        self.ec2.detach_network_interface(AttachmentId=attachment)
        self.assertIsNotNone(self.get(at), "metadata lags behind")
        deadline = time.monotonic() + 10
        while self.get(at) is not None:
            self.assertLess(time.monotonic(), deadline)

    def test_the_sdk_finds_credentials_and_region_by_itself(self):
        environment = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.world["imds"],
            "AWS_EC2_METADATA_V1_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        with unittest.mock.patch.dict(os.environ, environment):
            credentials = botocore.session.Session().get_credentials()
            fetcher = botocore.utils.IMDSRegionProvider(botocore.session.Session(), dict(os.environ))
            region = fetcher.provide()
        self.assertEqual(credentials.method, "iam-role")
        self.assertTrue(credentials.get_frozen_credentials().token)
        self.assertEqual(region, "eu-central-1")

    def wait_for(self, entry, path):
        deadline = time.monotonic() + 10
        while entry not in (self.get(path) or "").split("\n"):
            self.assertLess(time.monotonic(), deadline, f"{entry} in {path}")
