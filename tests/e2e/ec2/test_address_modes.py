"""IPv6, network cards, interfaces for EFA, security groups, ranges and tags that change."""

import ipaddress

from lab import Lab

WIDE = ipaddress.ip_network("2001:db8:0:101::/64")


class Ipv6(Lab):
    def test_addresses_and_prefixes_come_and_go(self):
        eni = self.create()
        own = eni["NetworkInterfaceId"]
        (first,) = [it["Ipv6Address"] for it in eni["Ipv6Addresses"]]
        self.assertIn(ipaddress.ip_address(first), WIDE)
        answer = self.ec2.assign_ipv6_addresses(NetworkInterfaceId=own, Ipv6PrefixCount=2)
        prefixes = answer["AssignedIpv6Prefixes"]
        self.assertEqual([ipaddress.ip_network(it).prefixlen for it in prefixes], [80, 80])
        self.assertTrue(all(ipaddress.ip_network(it).subnet_of(WIDE) for it in prefixes))
        answer = self.ec2.assign_ipv6_addresses(NetworkInterfaceId=own, Ipv6AddressCount=2)
        more = answer["AssignedIpv6Addresses"]
        found = self.look(own)
        self.assertEqual([it["Ipv6Prefix"] for it in found["Ipv6Prefixes"]], prefixes)
        self.assertEqual([it["Ipv6Address"] for it in found["Ipv6Addresses"]], [first, *more])
        answer = self.ec2.unassign_ipv6_addresses(
            NetworkInterfaceId=own, Ipv6Addresses=more[:1], Ipv6Prefixes=prefixes[:1]
        )
        self.assertEqual(answer["UnassignedIpv6Addresses"], more[:1])
        self.assertEqual(answer["UnassignedIpv6Prefixes"], prefixes[:1])
        self.ec2.assign_ipv6_addresses(NetworkInterfaceId=own, Ipv6Addresses=more[:1])
        self.ec2.assign_ipv6_addresses(NetworkInterfaceId=own, Ipv6Prefixes=prefixes[:1])
        self.ec2.delete_network_interface(NetworkInterfaceId=own)

    def test_an_interface_is_born_with_what_it_asks_for(self):
        for asked, addresses, prefixes in [
            ({"Ipv6AddressCount": 0}, 0, 0),
            ({"Ipv6AddressCount": 2}, 2, 0),
            ({"Ipv6PrefixCount": 1}, 0, 1),
            ({"Ipv6Addresses": [{"Ipv6Address": "2001:db8:0:101::77"}]}, 1, 0),
            ({"Ipv6Prefixes": [{"Ipv6Prefix": "2001:db8:0:101:77::/80"}]}, 0, 1),
        ]:
            eni = self.create(**asked)
            self.assertEqual((len(eni["Ipv6Addresses"]), len(eni["Ipv6Prefixes"])), (addresses, prefixes), asked)

    def test_ranges_are_described(self):
        subnet = self.ec2.describe_subnets(SubnetIds=[self.world["wide"]])["Subnets"][0]
        (range,) = subnet["Ipv6CidrBlockAssociationSet"]
        self.assertEqual((range["Ipv6CidrBlock"], range["Ipv6CidrBlockState"]["State"]), (str(WIDE), "associated"))
        self.assertTrue(subnet["AssignIpv6AddressOnCreation"])
        vpc = self.ec2.describe_vpcs(VpcIds=[self.world["vpc"]])["Vpcs"][0]
        self.assertEqual(vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"], "2001:db8:0:100::/56")

    def test_refusals(self):
        eni = self.create()["NetworkInterfaceId"]
        assign = {"call": self.ec2.assign_ipv6_addresses, "NetworkInterfaceId": eni}
        for code, asked in [
            ("MissingParameter", {}),
            ("InvalidParameterValue", {"Ipv6AddressCount": 1, "Ipv6PrefixCount": 1}),
            ("InvalidParameterValue", {"Ipv6Addresses": ["2001:db8:0:102::9"]}),
            ("InvalidParameterValue", {"Ipv6Addresses": ["10.0.1.9"]}),
            ("InvalidParameterValue", {"Ipv6Prefixes": ["2001:db8:0:101:7::/81"]}),
            ("InsufficientCidrBlocks", {"Ipv6Prefixes": ["2001:db8:0:101::/80"]}),
            ("PrivateIpAddressLimitExceeded", {"Ipv6PrefixCount": 64}),
        ]:
            self.refused(code, 400, **assign, **asked)
        elsewhere = self.create(SubnetId=self.world["elsewhere"])["NetworkInterfaceId"]
        assign["NetworkInterfaceId"] = elsewhere
        self.refused("InvalidParameterValue", 400, **assign, Ipv6PrefixCount=1)
        xen = {"ImageId": "ami-1", "MinCount": 1, "MaxCount": 1, "SubnetId": self.world["wide"]}
        self.refused("UnsupportedOperation", 400, self.ec2.run_instances, **xen, InstanceType="m3.medium")


class Cards(Lab):
    def interfaces(self, *seats):
        common = {"SubnetId": self.world["wide"]}
        return [
            {**common, "NetworkCardIndex": card, "DeviceIndex": device, "InterfaceType": kind}
            for card, device, kind in seats
        ]

    def launch(self, *seats, kind="p4d.24xlarge"):
        launched = self.ec2.run_instances(
            ImageId="ami-1", InstanceType=kind, MinCount=1, MaxCount=1, NetworkInterfaces=self.interfaces(*seats)
        )
        return launched["Instances"][0]

    def test_an_instance_is_launched_with_interfaces_on_several_cards(self):
        instance = self.launch((0, 0, "interface"), (0, 1, "efa-only"), (1, 1, "efa"), (2, 1, "interface"))
        enis = instance["NetworkInterfaces"]
        seats = [(it["Attachment"]["NetworkCardIndex"], it["Attachment"]["DeviceIndex"]) for it in enis]
        self.assertEqual(seats, [(0, 0), (0, 1), (1, 1), (2, 1)])
        kinds = [it["InterfaceType"] for it in enis]
        self.assertEqual(kinds, ["interface", "efa-only", "efa", "interface"])
        efa_only = self.look(enis[1]["NetworkInterfaceId"])
        self.assertEqual(efa_only["InterfaceType"], "efa-only")
        self.assertEqual((efa_only["PrivateIpAddresses"], efa_only["Ipv6Addresses"]), ([], []))
        self.assertNotIn("PrivateIpAddress", efa_only)
        self.assertIn("PrivateIpAddress", self.look(enis[2]["NetworkInterfaceId"]))
        self.ec2.get_waiter("instance_running").wait(InstanceIds=[instance["InstanceId"]])
        more = self.create()["NetworkInterfaceId"]
        attach = {
            "call": self.ec2.attach_network_interface,
            "InstanceId": instance["InstanceId"],
            "NetworkInterfaceId": more,
        }
        self.refused("InvalidParameterValue", 400, **attach, NetworkCardIndex=1, DeviceIndex=1)
        self.refused("InvalidParameterValue", 400, **attach, NetworkCardIndex=4, DeviceIndex=1)
        self.refused("InvalidParameterValue", 400, **attach, NetworkCardIndex=1, DeviceIndex=256)
        del attach["call"]
        answer = self.ec2.attach_network_interface(**attach, NetworkCardIndex=3, DeviceIndex=1)
        self.assertEqual(answer["NetworkCardIndex"], 3)

    def test_a_launch_without_a_primary_interface_or_with_one_that_has_no_addresses_is_refused(self):
        for seats in [[(0, 1, "interface")], [(0, 0, "efa-only")]]:
            launch = {"ImageId": "ami-1", "InstanceType": "p4d.24xlarge", "MinCount": 1, "MaxCount": 1}
            interfaces = self.interfaces(*seats)
            self.refused(
                "InvalidParameterCombination", 400, self.ec2.run_instances, **launch, NetworkInterfaces=interfaces
            )

    def test_an_efa_only_interface_takes_no_addresses(self):
        eni = self.create(InterfaceType="efa-only")["NetworkInterfaceId"]
        self.refused(
            "UnsupportedOperation",
            400,
            self.ec2.assign_private_ip_addresses,
            NetworkInterfaceId=eni,
            SecondaryPrivateIpAddressCount=1,
        )
        self.refused(
            "UnsupportedOperation", 400, self.ec2.assign_ipv6_addresses, NetworkInterfaceId=eni, Ipv6PrefixCount=1
        )
        self.refused(
            "InvalidParameterCombination", 400, self.create, InterfaceType="efa-only", Ipv4PrefixCount=1
        )
        filters = [{"Name": "interface-type", "Values": ["efa-only"]}]
        found = self.ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
        self.assertIn(eni, [it["NetworkInterfaceId"] for it in found])


class Changes(Lab):
    def test_security_groups_are_replaced(self):
        eni = self.create()["NetworkInterfaceId"]
        modify = self.ec2.modify_network_interface_attribute
        modify(NetworkInterfaceId=eni, Groups=[self.world["group"]])
        self.assertEqual([it["GroupName"] for it in self.look(eni)["Groups"]], ["pods"])
        self.refused("MissingParameter", 400, modify, NetworkInterfaceId=eni, Groups=[])
        self.refused("InvalidGroup.NotFound", 400, modify, NetworkInterfaceId=eni, Groups=["sg-1"])
        self.assertEqual([it["GroupName"] for it in self.look(eni)["Groups"]], ["pods"])

    def test_a_vpc_gets_a_further_range(self):
        associate, vpc = self.ec2.associate_vpc_cidr_block, self.world["vpc"]
        answer = associate(VpcId=vpc, CidrBlock="100.65.0.0/16")
        self.assertEqual(answer["CidrBlockAssociation"]["CidrBlock"], "100.65.0.0/16")
        described = self.ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["CidrBlockAssociationSet"]
        self.assertIn(answer["CidrBlockAssociation"], described)
        self.refused("InvalidVpc.Range", 400, associate, VpcId=vpc, CidrBlock="100.65.128.0/17")
        self.refused("InvalidVpc.Range", 400, associate, VpcId=vpc, CidrBlock="100.64.0.0/10")
        self.refused("InvalidParameterValue", 400, associate, VpcId=vpc, CidrBlock="everything")
        self.refused("InvalidVpcID.NotFound", 400, associate, VpcId="vpc-1", CidrBlock="100.66.0.0/16")
        for third in (66, 67):
            associate(VpcId=vpc, CidrBlock=f"100.{third}.0.0/16")
        self.refused("CidrLimitExceeded", 400, associate, VpcId=vpc, CidrBlock="100.68.0.0/16")

    def test_a_subnets_tags_come_and_go(self):
        subnet, role = self.world["wide"], "kubernetes.io/role/cni"
        self.ec2.create_tags(Resources=[subnet], Tags=[{"Key": role, "Value": "0"}])
        filters = [{"Name": f"tag:{role}", "Values": ["0"]}]
        self.assertEqual(len(self.ec2.describe_subnets(Filters=filters)["Subnets"]), 1)
        self.ec2.delete_tags(Resources=[subnet], Tags=[{"Key": role}])
        self.assertEqual(self.ec2.describe_subnets(Filters=filters)["Subnets"], [])
