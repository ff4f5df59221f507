"""Every refusal with EC2's own code and status, in EC2's own envelope."""

import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree

import botocore.exceptions

from lab import Lab


class Refusals(Lab):
    def test_things_that_do_not_exist(self):
        ec2, eni = self.ec2, self.create()["NetworkInterfaceId"]
        instance = self.world["instance"]
        for code, call, parameters in [
            ("InvalidNetworkInterfaceID.NotFound", ec2.delete_network_interface, {"NetworkInterfaceId": "eni-0f"}),
            ("InvalidNetworkInterfaceId.Malformed", ec2.delete_network_interface, {"NetworkInterfaceId": "eth0"}),
            (
                "InvalidNetworkInterfaceID.NotFound",
                ec2.describe_network_interfaces,
                {"NetworkInterfaceIds": ["eni-0f"]},
            ),
            (
                "InvalidInstanceID.NotFound",
                ec2.attach_network_interface,
                {"NetworkInterfaceId": eni, "InstanceId": "i-0f", "DeviceIndex": 1},
            ),
            (
                "InvalidInstanceID.Malformed",
                ec2.attach_network_interface,
                {"NetworkInterfaceId": eni, "InstanceId": "node", "DeviceIndex": 1},
            ),
            (
                "InvalidNetworkInterfaceID.NotFound",
                ec2.attach_network_interface,
                {"NetworkInterfaceId": "eni-0f", "InstanceId": instance, "DeviceIndex": 1},
            ),
            ("InvalidAttachmentID.NotFound", ec2.detach_network_interface, {"AttachmentId": "eni-attach-0f"}),
            ("InvalidSubnetID.NotFound", ec2.create_network_interface, {"SubnetId": "subnet-0f"}),
            ("InvalidSubnetID.NotFound", ec2.describe_subnets, {"SubnetIds": ["subnet-0f"]}),
            ("InvalidVpcID.NotFound", ec2.describe_vpcs, {"VpcIds": ["vpc-0f"]}),
            ("InvalidGroup.NotFound", self.create, {"Groups": ["sg-0f"]}),
            ("InvalidGroup.NotFound", ec2.describe_security_groups, {"GroupIds": ["sg-0f"]}),
            ("InvalidGroupId.Malformed", self.create, {"Groups": ["pods"]}),
            ("InvalidInstanceType", ec2.describe_instance_types, {"InstanceTypes": ["m0.mini"]}),
            (
                "InvalidInstanceType",
                ec2.run_instances,
                {
                    "ImageId": "ami-1",
                    "InstanceType": "m0.mini",
                    "MinCount": 1,
                    "MaxCount": 1,
                    "SubnetId": self.world["wide"],
                },
            ),
            ("InvalidInstanceID.NotFound", ec2.terminate_instances, {"InstanceIds": ["i-0f"]}),
            ("InvalidNetworkInterfaceID.NotFound", ec2.create_tags, {"Resources": ["eni-0f"], "Tags": [{"Key": "k"}]}),
            ("InvalidID", ec2.create_tags, {"Resources": ["thing"], "Tags": [{"Key": "k"}]}),
            ("InvalidNextToken", ec2.describe_network_interfaces, {"NextToken": "not one", "MaxResults": 5}),
        ]:
            with self.subTest(code=code, parameters=parameters):
                self.refused(code, 400, call, **parameters)
        ec2.delete_network_interface(NetworkInterfaceId=eni)

    def test_seats(self):
        one, two, three = (self.create()["NetworkInterfaceId"] for _ in range(3))
        first = self.attach(one, 1)
        self.refused("InvalidNetworkInterface.InUse", 400, self.attach, eni=one, device=2)
        self.refused("InvalidParameterValue", 400, self.attach, eni=two, device=1)
        self.refused("InvalidParameterValue", 400, self.attach, eni=two, device=1, NetworkCardIndex=1)
        second = self.attach(two, 2)
        self.refused("AttachmentLimitExceeded", 400, self.attach, eni=three, device=3)
        self.refused("InvalidParameterValue", 400, self.ec2.delete_network_interface, NetworkInterfaceId=one)
        elsewhere = self.create(SubnetId=self.world["elsewhere"])["NetworkInterfaceId"]
        self.refused("InvalidParameterCombination", 400, self.attach, eni=elsewhere, device=3)
        filters = [{"Name": "attachment.device-index", "Values": ["0"]}]
        (primary,) = self.ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
        attachment = primary["Attachment"]["AttachmentId"]
        self.refused("OperationNotPermitted", 400, self.ec2.detach_network_interface, AttachmentId=attachment)
        self.refused(
            "InvalidAttachmentID.NotFound",
            400,
            self.ec2.modify_network_interface_attribute,
            NetworkInterfaceId=one,
            Attachment={"AttachmentId": second, "DeleteOnTermination": True},
        )
        for attachment in (first, second):
            self.ec2.detach_network_interface(AttachmentId=attachment)
        for eni in (one, two, three, elsewhere):
            self.ec2.delete_network_interface(NetworkInterfaceId=eni)

    def test_addresses(self):
        eni = self.create(SecondaryPrivateIpAddressCount=9)
        own, primary = eni["NetworkInterfaceId"], eni["PrivateIpAddress"]
        attachment = self.attach(own, 1)
        assign, unassign = self.ec2.assign_private_ip_addresses, self.ec2.unassign_private_ip_addresses
        for code, call, parameters in [
            ("PrivateIpAddressLimitExceeded", assign, {"SecondaryPrivateIpAddressCount": 1}),
            ("PrivateIpAddressLimitExceeded", assign, {"Ipv4PrefixCount": 1}),
            ("InvalidParameterCombination", assign, {"SecondaryPrivateIpAddressCount": 1, "Ipv4PrefixCount": 1}),
            ("MissingParameter", assign, {}),
            ("InvalidParameterValue", assign, {"PrivateIpAddresses": ["10.0.2.9"]}),
            ("InvalidParameterValue", assign, {"PrivateIpAddresses": ["10.0.1.1"]}),
            ("InvalidParameterValue", assign, {"PrivateIpAddresses": ["ten"]}),
            ("InvalidParameterValue", unassign, {"PrivateIpAddresses": [primary]}),
            ("InvalidParameterValue", unassign, {"PrivateIpAddresses": ["10.0.1.254"]}),
            ("InvalidParameterValue", unassign, {"Ipv4Prefixes": ["10.0.1.16/28"]}),
            ("MissingParameter", unassign, {}),
        ]:
            with self.subTest(code=code, parameters=parameters):
                self.refused(code, 400, call, NetworkInterfaceId=own, **parameters)
        self.refused("InvalidIPAddress.InUse", 400, self.create, PrivateIpAddress=primary)
        self.ec2.detach_network_interface(AttachmentId=attachment)
        self.ec2.delete_network_interface(NetworkInterfaceId=own)

    def test_an_empty_subnet_and_one_without_blocks(self):
        narrow = {"SubnetId": self.world["narrow"]}
        self.refused("InsufficientCidrBlocks", 400, self.create, **narrow, Ipv4PrefixCount=1)
        self.refused(
            "InsufficientFreeAddressesInSubnet", 400, self.create, **narrow, SecondaryPrivateIpAddressCount=11
        )
        self.assertEqual(self.free("narrow"), 11)

    def test_a_dry_run_changes_nothing(self):
        self.refused("DryRunOperation", 412, self.create, DryRun=True)
        self.refused("DryRunOperation", 412, self.ec2.describe_subnets, DryRun=True)

    def test_requests_that_make_no_sense(self):
        for form, code, status in [
            ("", "MissingAction", 400),
            ("Action=MakeCoffee&Version=2016-11-15", "InvalidAction", 400),
            ("Action=DescribeVpcs&Version=2001-01-01", "NoSuchVersion", 400),
            ("Action=DescribeVpcs&Colour=blue", "UnknownParameter", 400),
            ("Action=DescribeVpcs&MaxResults=many", "InvalidParameterValue", 400),
            ("Action=DescribeVpcs&MaxResults=1", "InvalidParameterValue", 400),
            ("Action=DescribeVpcs&Filter.1.Name=vpc-id", "InvalidParameterValue", 400),
            ("Action=DescribeVpcs&Filter.1.Value.1=x", "MissingParameter", 400),
            ("Action=CreateNetworkInterface", "MissingParameter", 400),
            ("Action=CreateNetworkInterface&SubnetId=%zz", "MalformedQueryString", 400),
            ("Action=DescribeVpcs&Action=DescribeVpcs", "MalformedQueryString", 400),
            ("Action=CreateNetworkInterface&SubnetId=subnet-1&InterfaceType=trunk", "UnsupportedOperation", 400),
            ("Action=" + "x" * (1 << 20), None, 413),
        ]:
            with self.subTest(form=form[:60]), self.assertRaises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(self.world["ec2"], data=form.encode(), timeout=10)
            with caught.exception as answer:
                self.assertEqual(answer.code, status, form[:60])
                if code:
                    found = ElementTree.fromstring(answer.read()).find("Errors/Error/Code").text
                    self.assertEqual(found, code, form[:60])

    def test_a_query_in_the_address_works_like_one_in_the_body(self):
        query = urllib.parse.urlencode({"Action": "DescribeVpcs", "Version": "2016-11-15"})
        with urllib.request.urlopen(f"{self.world['ec2']}/?{query}", timeout=10) as answer:
            self.assertIn(b"<vpcSet><item>", answer.read())


class Faults(Lab):
    environment = {
        "ENID_EC2_FAULTS": "DescribeVpcs=RequestLimitExceeded*2,DescribeSubnets=UnauthorizedOperation,"
        "CreateNetworkInterface=lost,DescribeInstances=InternalError"
    }

    def test_the_client_retries_throttling_by_itself(self):
        patient = self.client(retries={"mode": "standard", "total_max_attempts": 3})
        answer = patient.describe_vpcs()
        self.assertEqual(answer["ResponseMetadata"]["RetryAttempts"], 2)

    def test_permissions_and_accidents_have_their_own_status(self):
        self.refused("UnauthorizedOperation", 403, self.ec2.describe_subnets)
        self.refused("InternalError", 500, self.ec2.describe_instances)

    def test_a_lost_reply_leaves_the_client_in_the_dark_and_a_token_helps(self):
        parameters = {"SubnetId": self.world["wide"], "ClientToken": "lost", "Description": "found"}
        with self.assertRaises((botocore.exceptions.HTTPClientError, botocore.parsers.ResponseParserError)):
            self.ec2.create_network_interface(**parameters)
        eni = self.ec2.create_network_interface(**parameters)["NetworkInterface"]
        filters = [{"Name": "description", "Values": ["found"]}]
        seen = self.ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
        self.assertEqual([it["NetworkInterfaceId"] for it in seen], [eni["NetworkInterfaceId"]])
