"""The AWS command line, as an operator would use it against the lab."""

import json
import os
import subprocess
import sys

from lab import Lab


class CommandLine(Lab):
    def aws(self, *words):
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_MAX_ATTEMPTS": "1",
            "AWS_PAGER": "",
        }
        aws = os.path.join(os.path.dirname(sys.executable), "aws")
        return subprocess.run(
            [sys.executable, aws, "--endpoint-url", self.world["ec2"], "--output", "json", "ec2", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def answer(self, *words):
        done = self.aws(*words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout) if done.stdout else None

    def test_an_operator_makes_finds_and_removes_an_eni(self):
        made = self.answer(
            "create-network-interface",
            "--subnet-id",
            self.world["wide"],
            "--description",
            "by hand",
            "--ipv4-prefix-count",
            "1",
            "--tag-specifications",
            "ResourceType=network-interface,Tags=[{Key=team,Value=blue}]",
        )
        eni = made["NetworkInterface"]["NetworkInterfaceId"]
        found = self.answer(
            "describe-network-interfaces",
            "--filters",
            "Name=tag:team,Values=blue",
            "Name=status,Values=available",
            "--query",
            "NetworkInterfaces[].NetworkInterfaceId",
        )
        self.assertEqual(found, [eni])
        counts = self.answer("describe-subnets", "--query", "Subnets[].AvailableIpAddressCount")
        self.assertEqual(len(counts), 3)
        self.answer("delete-network-interface", "--network-interface-id", eni)
        again = self.aws("delete-network-interface", "--network-interface-id", eni)
        self.assertNotEqual(again.returncode, 0)
        self.assertIn("InvalidNetworkInterfaceID.NotFound", again.stderr)

    def test_limits_are_read_as_documented(self):
        limits = self.answer(
            "describe-instance-types",
            "--instance-types",
            "t3.small",
            "--query",
            "InstanceTypes[0].NetworkInfo.[MaximumNetworkInterfaces,Ipv4AddressesPerInterface]",
        )
        self.assertEqual(limits, [3, 4])
