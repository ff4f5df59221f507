"""The same calls to our EC2 and to moto's must tell the same story, for the calls that moto gets right.

moto does not do prefixes, limits, seats, exhaustion, pages and delays; those have no second opinion here.
"""

import logging
import random

import boto3
import botocore.exceptions
from moto.server import ThreadedMotoServer

from lab import Lab


class SecondOpinion(Lab):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        # moto draws addresses, and takes one again that an interface has already.
        random.seed(1)
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        cls.addClassCleanup(server.stop)
        host, port = server.get_host_and_port()
        cls.moto = boto3.client(
            "ec2",
            endpoint_url=f"http://{host}:{port}",
            region_name="eu-central-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )
        vpc = cls.moto.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = {
            name: cls.moto.create_subnet(
                VpcId=vpc, CidrBlock=cidr, AvailabilityZone=f"eu-central-1{zone}"
            )["Subnet"]["SubnetId"]
            for name, zone, cidr in [
                ("wide", "a", "10.0.1.0/24"),
                ("narrow", "a", "10.0.2.0/28"),
                ("elsewhere", "b", "10.0.3.0/24"),
            ]
        }
        group = cls.moto.create_security_group(GroupName="pods", Description="pods", VpcId=vpc)["GroupId"]
        launched = cls.moto.run_instances(
            ImageId="ami-12c6146b", InstanceType="m5.large", MinCount=1, MaxCount=1, SubnetId=subnet["wide"]
        )
        cls.other = {
            **subnet,
            "vpc": vpc,
            "group": group,
            "instance": launched["Instances"][0]["InstanceId"],
        }

    def both(self, story):
        """Tells `story(ec2, world)` to both and compares what comes back."""
        self.assertEqual(story(self.ec2, self.world), story(self.moto, self.other))

    def test_subnets_count_alike(self):
        def story(ec2, world):
            def subnets():
                filters = [{"Name": "vpc-id", "Values": [world["vpc"]]}]
                found = ec2.describe_subnets(Filters=filters)["Subnets"]
                keys = "CidrBlock", "AvailabilityZone", "AvailableIpAddressCount", "State", "DefaultForAz"
                return sorted(tuple(subnet[key] for key in keys) for subnet in found)

            before = subnets()
            eni = ec2.create_network_interface(SubnetId=world["wide"], SecondaryPrivateIpAddressCount=4)
            during = subnets()
            ec2.delete_network_interface(NetworkInterfaceId=eni["NetworkInterface"]["NetworkInterfaceId"])
            return before, during, subnets()

        self.both(story)

    def test_an_eni_looks_alike_through_its_life(self):
        def story(ec2, world):
            def look(eni):
                seen = ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"][0]
                at = seen.get("Attachment", {})
                return (
                    seen["Status"],
                    seen["Description"],
                    seen["SourceDestCheck"],
                    seen["InterfaceType"],
                    seen["AvailabilityZone"],
                    sorted(group["GroupName"] for group in seen["Groups"]),
                    sorted((tag["Key"], tag["Value"]) for tag in seen["TagSet"]),
                    [address["Primary"] for address in seen["PrivateIpAddresses"]],
                    at.get("DeviceIndex"),
                    at.get("Status"),
                    at.get("InstanceId") == world["instance"],
                )

            made = ec2.create_network_interface(
                SubnetId=world["wide"],
                Groups=[world["group"]],
                Description="a story",
                SecondaryPrivateIpAddressCount=2,
                TagSpecifications=[{"ResourceType": "network-interface", "Tags": [{"Key": "k", "Value": "v"}]}],
            )
            eni = made["NetworkInterface"]["NetworkInterfaceId"]
            chapters = [look(eni)]
            attached = ec2.attach_network_interface(
                NetworkInterfaceId=eni, InstanceId=world["instance"], DeviceIndex=1
            )
            chapters.append(look(eni))
            ec2.modify_network_interface_attribute(NetworkInterfaceId=eni, SourceDestCheck={"Value": False})
            ec2.create_tags(Resources=[eni], Tags=[{"Key": "l", "Value": "w"}])
            ec2.delete_tags(Resources=[eni], Tags=[{"Key": "k"}])
            chapters.append(look(eni))
            ec2.detach_network_interface(AttachmentId=attached["AttachmentId"])
            chapters.append(look(eni))
            ec2.delete_network_interface(NetworkInterfaceId=eni)
            return chapters

        self.both(story)

    def test_filters_find_alike(self):
        def story(ec2, world):
            made = ec2.create_network_interface(
                SubnetId=world["elsewhere"],
                Description="aws-K8S-i-7",
                TagSpecifications=[{"ResourceType": "network-interface", "Tags": [{"Key": "f", "Value": "g1"}]}],
            )
            eni = made["NetworkInterface"]["NetworkInterfaceId"]
            counts = []
            for name, value in [
                ("subnet-id", world["elsewhere"]),
                ("description", "aws-K8S-*"),
                ("description", "aws-K8S"),
                ("tag:f", "g?"),
                ("tag:f", "g"),
                ("tag-key", "f"),
                ("status", "available"),
                ("attachment.instance-id", world["instance"]),
            ]:
                filters = [{"Name": name, "Values": [value]}, {"Name": "vpc-id", "Values": [world["vpc"]]}]
                found = ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
                counts.append((name, value in ("g", "aws-K8S"), len(found)))
            ec2.delete_network_interface(NetworkInterfaceId=eni)
            return counts

        self.both(story)

    def test_instance_types_have_the_same_limits(self):
        def story(ec2, _):
            names = ["t3.small", "m5.large", "c5n.18xlarge", "p4d.24xlarge", "t2.micro", "m5.metal", "m7g.medium"]
            found = ec2.describe_instance_types(InstanceTypes=names)["InstanceTypes"]
            return sorted(
                (
                    kind["InstanceType"],
                    kind["BareMetal"],
                    kind.get("Hypervisor"),
                    kind["VCpuInfo"]["DefaultVCpus"],
                    kind["MemoryInfo"]["SizeInMiB"],
                    *(
                        kind["NetworkInfo"][key]
                        for key in (
                            "MaximumNetworkInterfaces",
                            "MaximumNetworkCards",
                            "DefaultNetworkCardIndex",
                            "Ipv4AddressesPerInterface",
                            "Ipv6AddressesPerInterface",
                        )
                    ),
                    *(card["MaximumNetworkInterfaces"] for card in kind["NetworkInfo"]["NetworkCards"]),
                )
                for kind in found
            )

        self.both(story)

    def test_refusals_have_the_same_codes(self):
        def story(ec2, world):
            codes = []
            for call, parameters in [
                (ec2.delete_network_interface, {"NetworkInterfaceId": "eni-0123456789abcdef0"}),
                (ec2.describe_network_interfaces, {"NetworkInterfaceIds": ["eni-0123456789abcdef0"]}),
                (ec2.detach_network_interface, {"AttachmentId": "eni-attach-0123456789abcdef0"}),
                (ec2.describe_subnets, {"SubnetIds": ["subnet-0123456789abcdef0"]}),
                (ec2.create_network_interface, {"SubnetId": "subnet-0123456789abcdef0"}),
                (ec2.describe_vpcs, {"VpcIds": ["vpc-0123456789abcdef0"]}),
                (ec2.describe_security_groups, {"GroupIds": ["sg-0123456789abcdef0"]}),
                (ec2.describe_instances, {"InstanceIds": ["i-0123456789abcdef0"]}),
                (ec2.describe_instance_types, {"InstanceTypes": ["m0.mini"]}),
                (ec2.create_network_interface, {"SubnetId": world["wide"], "DryRun": True}),
            ]:
                with self.assertRaises(botocore.exceptions.ClientError) as caught:
                    call(**parameters)
                answer = caught.exception.response
                codes.append((answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]))
            return codes

        self.both(story)
