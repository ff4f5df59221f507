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


class Told(Lab):
    """How one asks."""

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

    def wait_for(self, entry, path):
        deadline = time.monotonic() + 10
        while entry not in (self.get(path) or "").split("\n"):
            self.assertLess(time.monotonic(), deadline, f"{entry} in {path}")

    def wait_for_none(self, path):
        deadline = time.monotonic() + 10
        while self.get(path) is not None:
            self.assertLess(time.monotonic(), deadline)


class Metadata(Told):
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
        self.assertNotIn("ipv6-prefix", names)
        facts = {name: self.get(at + name) for name in names}
        self.assertEqual(
            facts,
            {
                "device-number": "1",
                "interface-id": own,
                "ipv6s": eni["Ipv6Addresses"][0]["Ipv6Address"],
                "local-hostname": eni["PrivateDnsName"],
                "local-ipv4s": "\n".join(it["PrivateIpAddress"] for it in eni["PrivateIpAddresses"]),
                "mac": mac,
                "network-card": "0",
                "owner-id": "123456789012",
                "security-group-ids": eni["Groups"][0]["GroupId"],
                "security-groups": "default",
                "subnet-id": self.world["wide"],
                "subnet-ipv4-cidr-block": "10.0.1.0/24",
                "subnet-ipv6-cidr-blocks": "2001:db8:0:101::/64",
                "vpc-id": self.world["vpc"],
                "vpc-ipv4-cidr-block": "10.0.0.0/16",
                "vpc-ipv4-cidr-blocks": "10.0.0.0/16\n100.64.0.0/16",
                "vpc-ipv6-cidr-blocks": "2001:db8:0:100::/56",
            },
        )
        answer = self.ec2.assign_private_ip_addresses(NetworkInterfaceId=own, Ipv4PrefixCount=1)
        self.wait_for("ipv4-prefix", at)
        self.assertEqual(self.get(at + "ipv4-prefix"), answer["AssignedIpv4Prefixes"][0]["Ipv4Prefix"])
        answer = self.ec2.assign_ipv6_addresses(NetworkInterfaceId=own, Ipv6PrefixCount=1)
        self.wait_for("ipv6-prefix", at)
        self.assertEqual(self.get(at + "ipv6-prefix"), answer["AssignedIpv6Prefixes"][0])
        self.ec2.detach_network_interface(AttachmentId=attachment)
        self.assertIsNotNone(self.get(at), "metadata lags behind")
        self.wait_for_none(at)

    def test_an_efa_only_interface_is_listed_without_addresses(self):
        eni = self.create(InterfaceType="efa-only")
        attachment = self.attach(eni["NetworkInterfaceId"], 1)
        self.wait_for(f"{eni['MacAddress']}/", "meta-data/network/interfaces/macs")
        names = self.get(f"meta-data/network/interfaces/macs/{eni['MacAddress']}/").split("\n")
        self.assertIn("interface-id", names)
        self.assertFalse({"local-ipv4s", "local-hostname", "ipv6s"} & set(names))
        self.ec2.detach_network_interface(AttachmentId=attachment)
        self.wait_for_none(f"meta-data/network/interfaces/macs/{eni['MacAddress']}/")

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


class Changes(Told):
    def test_ranges_and_security_groups_change_with_a_lag(self):
        at = f"meta-data/network/interfaces/macs/{self.get('meta-data/mac')}/"
        own = self.get(at + "interface-id")
        before = self.get(at + "security-group-ids")
        self.ec2.modify_network_interface_attribute(NetworkInterfaceId=own, Groups=[self.world["group"]])
        self.ec2.associate_vpc_cidr_block(VpcId=self.world["vpc"], CidrBlock="100.65.0.0/16")
        self.assertEqual(self.get(at + "security-group-ids"), before, "metadata lags behind")
        self.wait_for("100.65.0.0/16", at + "vpc-ipv4-cidr-blocks")
        self.assertEqual(self.get(at + "security-group-ids"), self.world["group"])
        self.assertEqual(self.get("meta-data/security-groups"), "pods")
