"""Describe calls: filters, pages, and what each resource says."""

from lab import Lab


class Describe(Lab):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        parameters = {
            "SubnetId": cls.world["wide"],
            "PrivateIpAddresses": [
                {"PrivateIpAddress": "10.0.1.100", "Primary": True},
                {"PrivateIpAddress": "10.0.1.101"},
            ],
            "Groups": [cls.world["group"]],
            "Description": "aws-K8S-i-0123",
            "TagSpecifications": [
                {"ResourceType": "network-interface", "Tags": [{"Key": "cluster", "Value": "blue-1"}]}
            ],
        }
        cls.eni = cls.ec2.create_network_interface(**parameters)["NetworkInterface"]["NetworkInterfaceId"]
        cls.ec2.attach_network_interface(
            NetworkInterfaceId=cls.eni, InstanceId=cls.world["instance"], DeviceIndex=1
        )
        for number in range(12):
            cls.ec2.create_network_interface(SubnetId=cls.world["elsewhere"], Description=f"page {number}")

    def test_interfaces_are_found_by_what_they_are(self):
        seen = self.look(self.eni)
        for name, value in [
            ("network-interface-id", self.eni),
            ("attachment.instance-id", self.world["instance"]),
            ("attachment.attachment-id", seen["Attachment"]["AttachmentId"]),
            ("attachment.device-index", "1"),
            ("attachment.status", "attached"),
            ("attachment.delete-on-termination", "false"),
            ("attachment.network-card-index", "0"),
            ("attachment.instance-owner-id", "123456789012"),
            ("addresses.private-ip-address", "10.0.1.100"),
            ("addresses.private-ip-address", "10.0.1.101"),
            ("private-ip-address", "10.0.1.100"),
            ("private-dns-name", "ip-10-0-1-100.eu-central-1.compute.internal"),
            ("description", "aws-K8S-*"),
            ("description", "aws-K8S-i-012?"),
            ("group-id", self.world["group"]),
            ("group-name", "pods"),
            ("mac-address", seen["MacAddress"]),
            ("status", "in-use"),
            ("source-dest-check", "true"),
            ("interface-type", "interface"),
            ("subnet-id", self.world["wide"]),
            ("vpc-id", self.world["vpc"]),
            ("availability-zone", "eu-central-1a"),
            ("tag:cluster", "blue-1"),
            ("tag:cluster", "blue-*"),
            ("tag-key", "cluster"),
        ]:
            with self.subTest(name=name, value=value):
                self.assertIn(self.eni, self.ids([{"Name": name, "Values": ["nothing", value]}]))
                self.assertEqual(self.ids([{"Name": name, "Values": ["nothing"]}]), [])

    def test_all_filters_must_match(self):
        instance = {"Name": "attachment.instance-id", "Values": [self.world["instance"]]}
        self.assertEqual(len(self.ids([instance])), 2)
        self.assertEqual(self.ids([instance, {"Name": "tag-key", "Values": ["cluster"]}]), [self.eni])
        self.assertEqual(self.ids([instance, {"Name": "status", "Values": ["available"]}]), [])

    def test_unknown_filters_are_refused(self):
        filters = [{"Name": "colour", "Values": ["blue"]}]
        for describe in [
            self.ec2.describe_network_interfaces,
            self.ec2.describe_instances,
            self.ec2.describe_subnets,
            self.ec2.describe_vpcs,
            self.ec2.describe_security_groups,
            self.ec2.describe_availability_zones,
            self.ec2.describe_instance_types,
            self.ec2.describe_tags,
        ]:
            self.refused("InvalidParameterValue", 400, describe, Filters=filters)

    def test_pages_cover_everything_once(self):
        everything = self.ids([])
        pages = self.ec2.get_paginator("describe_network_interfaces").paginate(
            PaginationConfig={"PageSize": 5}
        )
        pages = [page["NetworkInterfaces"] for page in pages]
        self.assertEqual([len(page) for page in pages], [5, 5, len(everything) - 10])
        seen = [eni["NetworkInterfaceId"] for page in pages for eni in page]
        self.assertEqual(seen, everything)
        self.refused("InvalidParameterValue", 400, self.ec2.describe_network_interfaces, MaxResults=1001)
        self.refused(
            "InvalidParameterCombination",
            400,
            self.ec2.describe_network_interfaces,
            MaxResults=5,
            NetworkInterfaceIds=[self.eni],
        )

    def test_instance_types_come_in_pages_and_by_name(self):
        names = [
            it["InstanceType"]
            for page in self.ec2.get_paginator("describe_instance_types").paginate(
                PaginationConfig={"PageSize": 100}
            )
            for it in page["InstanceTypes"]
        ]
        self.assertGreater(len(names), 1000)
        self.assertEqual(len(names), len(set(names)))
        (large,) = self.ec2.describe_instance_types(InstanceTypes=["m5.large"])["InstanceTypes"]
        network = large["NetworkInfo"]
        self.assertEqual(
            (network["MaximumNetworkInterfaces"], network["Ipv4AddressesPerInterface"], large["Hypervisor"]),
            (3, 10, "nitro"),
        )
        filters = [{"Name": "instance-type", "Values": ["t3.*"]}]
        some = self.ec2.describe_instance_types(Filters=filters)["InstanceTypes"]
        self.assertTrue(some and all(it["InstanceType"].startswith("t3.") for it in some))

    def test_the_ground_describes_itself(self):
        (vpc,) = self.ec2.describe_vpcs()["Vpcs"]
        blocks = [block["CidrBlock"] for block in vpc["CidrBlockAssociationSet"]]
        self.assertEqual((vpc["CidrBlock"], blocks), ("10.0.0.0/16", ["10.0.0.0/16", "100.64.0.0/16"]))
        filters = [
            {"Name": "vpc-id", "Values": [vpc["VpcId"]]},
            {"Name": "availability-zone", "Values": ["eu-central-1a"]},
        ]
        subnets = self.ec2.describe_subnets(Filters=filters)["Subnets"]
        self.assertEqual({it["CidrBlock"] for it in subnets}, {"10.0.1.0/24", "10.0.2.0/28"})
        self.assertEqual({it["AvailabilityZoneId"] for it in subnets}, {"euc1-az1"})
        groups = self.ec2.describe_security_groups(GroupNames=["pods"])["SecurityGroups"]
        self.assertEqual([group["GroupId"] for group in groups], [self.world["group"]])
        zones = self.ec2.describe_availability_zones()["AvailabilityZones"]
        self.assertEqual([zone["ZoneId"] for zone in zones], ["euc1-az1", "euc1-az2", "euc1-az3"])

    def test_instances_are_found_by_their_type_and_address(self):
        (primary,) = self.ec2.describe_network_interfaces(
            Filters=[{"Name": "attachment.device-index", "Values": ["0"]}]
        )["NetworkInterfaces"]
        for name, value in [
            ("instance-type", "m5.*"),
            ("private-ip-address", primary["PrivateIpAddress"]),
            ("instance-state-name", "running"),
            ("network-interface.network-interface-id", self.eni),
        ]:
            reservations = self.ec2.describe_instances(Filters=[{"Name": name, "Values": [value]}])
            (instance,) = [it for one in reservations["Reservations"] for it in one["Instances"]]
            self.assertEqual(instance["InstanceId"], self.world["instance"])
            devices = [it["Attachment"]["DeviceIndex"] for it in instance["NetworkInterfaces"]]
            self.assertEqual(devices, [0, 1])

    def ids(self, filters):
        described = self.ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
        return [eni["NetworkInterfaceId"] for eni in described]
